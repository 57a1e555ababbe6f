"""Looking after a bucket: removing what has expired, letting S3 do that by itself, and the rights that it all takes."""

from __future__ import annotations
