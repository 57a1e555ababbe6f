"""CloudCached for Flask: set ``CACHE_TYPE = "cloudcached_flask.S3Cache"`` for Flask-Caching."""

from __future__ import annotations

from .backend import S3Cache
from .status import status_blueprint

__all__ = ["S3Cache", "status_blueprint"]
