"""The minimal settings of a Django site with CloudCached: no database, no sessions."""

from __future__ import annotations

from pathlib import Path

from . import conf

BASE_DIR = Path(__file__).resolve().parent

SECRET_KEY = conf.SECRET_KEY
ALLOWED_HOSTS = ["127.0.0.1", "localhost", "[::1]"]
ROOT_URLCONF = "example_project.urls"
WSGI_APPLICATION = "example_project.wsgi.application"
ASGI_APPLICATION = "example_project.asgi.application"
INSTALLED_APPS = ["cloudcached_django"]
MIDDLEWARE = [
    "example_project.middleware.tell",
    "django.middleware.security.SecurityMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "example_project.middleware.everyone_is_staff",
]
TEMPLATES = [{"BACKEND": "django.template.backends.django.DjangoTemplates", "DIRS": [BASE_DIR / "templates"]}]
USE_TZ = True

CACHES = {
    "default": {
        "BACKEND": "cloudcached_django.S3Cache",
        "LOCATION": conf.CLOUDCACHED_URL,
        "TIMEOUT": conf.KEEP,
    },
}

LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "handlers": {
        "console": {"class": "logging.StreamHandler"},
        "watch": {"class": "example_project.outage.Watch"},
    },
    "root": {"handlers": ["console"], "level": "WARNING"},
    "loggers": {"cloudcached": {"handlers": ["watch"]}},
}
