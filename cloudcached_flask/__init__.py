"""CloudCached for Flask: set ``CACHE_TYPE = "cloudcached_flask.S3Cache"`` for Flask-Caching."""

from __future__ import annotations

from .backend import S3Cache

__all__ = ["S3Cache"]
