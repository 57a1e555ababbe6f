"""GET, HEAD and PUT, by obstore."""

from __future__ import annotations
