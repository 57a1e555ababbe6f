"""Files in and out of entries: values too large for memory."""

from __future__ import annotations
