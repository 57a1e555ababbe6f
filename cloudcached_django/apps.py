"""The Django app, which registers the system checks."""

from __future__ import annotations

from django.apps import AppConfig


class CloudCachedConfig(AppConfig):
    """CloudCached as an app. It has no models and no migrations."""

    name = "cloudcached_django"
    verbose_name = "CloudCached"

    def ready(self) -> None:
        """Register the system checks."""
        from . import checks  # noqa: F401, PLC0415 - the import registers them, and needs the apps loaded
