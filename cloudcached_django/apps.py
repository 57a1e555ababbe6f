"""The Django app: it brings the system checks."""

from __future__ import annotations

from django.apps import AppConfig


class CloudCachedConfig(AppConfig):
    """CloudCached as an app; it has no models and no migrations."""

    name = "cloudcached_django"
    verbose_name = "CloudCached"

    def ready(self) -> None:
        """Register the system checks."""
        from . import checks  # noqa: F401, PLC0415 - importing them registers them, and they need the apps
