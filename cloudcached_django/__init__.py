"""CloudCached for Django: a cache backend whose entries live in S3.

    CACHES = {
        "default": {
            "BACKEND": "cloudcached_django.S3Cache",
            "LOCATION": "s3://bucket/prefix",
        }
    }

Also add ``"cloudcached_django"`` to ``INSTALLED_APPS``: its system checks find mistakes in these settings.
"""

from __future__ import annotations

from .backend import S3Cache

__all__ = ["S3Cache"]
