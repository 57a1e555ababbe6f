"""The Django site in which the ``settings.py`` blocks of a page are tried, and AWS's mock for its policies."""

from __future__ import annotations

import io
import json
import sys
import types
from contextlib import redirect_stdout
from typing import Any

import boto3

_URLS = types.ModuleType("page_urls")
_URLS.urlpatterns = []  # type: ignore[attr-defined]

#: What a site has beside what a page shows; ``...`` in a page's list stands for the same list here.
_DEFAULTS: dict[str, Any] = {
    "SECRET_KEY": "of the documentation",
    "ALLOWED_HOSTS": ["testserver"],
    "ROOT_URLCONF": "page_urls",
    "USE_TZ": True,
    "INSTALLED_APPS": ["django.contrib.auth", "django.contrib.contenttypes", "django.contrib.sessions"],
    "MIDDLEWARE": ["django.contrib.sessions.middleware.SessionMiddleware"],
    "DATABASES": {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}},
    "TEMPLATES": [{"BACKEND": "django.template.backends.django.DjangoTemplates"}],
}


def configure(given: dict[str, Any]) -> None:
    """Make a site of these settings, or change the page's site to them. Raises what the system checks find."""
    from django.conf import settings
    from django.core.management import call_command

    values = {name: _spelled_out(name, value) for name, value in given.items()}
    if not settings.configured:
        import django

        sys.modules["page_urls"] = _URLS
        settings.configure(**{**_DEFAULTS, **values})
        django.setup()
        call_command("migrate", verbosity=0)
    else:
        from django.test.utils import override_settings

        override_settings(**values).enable()
    with redirect_stdout(io.StringIO()):
        call_command("check", fail_level="WARNING")


def _spelled_out(name: str, value: Any) -> Any:
    if not isinstance(value, list):
        return value
    return [part for given in value for part in (_DEFAULTS[name] if given is ... else [given])]


def take_urls(names: dict[str, Any]) -> None:
    """Let the site serve the page's ``urlpatterns``."""
    if "urlpatterns" in names and names["urlpatterns"] is not _URLS.urlpatterns:
        from django.urls import clear_url_caches

        _URLS.urlpatterns = names["urlpatterns"]
        clear_url_caches()


def render(template: str, names: dict[str, Any]) -> str:
    """Render a template of Django's."""
    from django.template import engines

    return str(engines["django"].from_string(template).render(names))


def manage(words: list[str]) -> str:
    """Return what a management command prints."""
    from django.core.management import call_command

    output = io.StringIO()
    with redirect_stdout(output):
        call_command(words[0], *words[1:], stdout=output)
    return output.getvalue()


def check_aws(content: dict[str, Any]) -> None:
    """Raise for a policy, or lifecycle rules, that AWS's mock does not take."""
    if "Statement" in content:
        iam = boto3.client("iam")
        arn = iam.create_policy(PolicyName="of-a-page", PolicyDocument=json.dumps(content))["Policy"]["Arn"]
        iam.delete_policy(PolicyArn=arn)
    if "Rules" in content:
        s3 = boto3.client("s3")
        bucket = s3.list_buckets()["Buckets"][0]["Name"]
        s3.put_bucket_lifecycle_configuration(Bucket=bucket, LifecycleConfiguration=content)
        s3.delete_bucket_lifecycle(Bucket=bucket)
