"""Values that are too large for memory."""

from __future__ import annotations
