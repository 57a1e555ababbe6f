"""System checks of CloudCached's caches; none of them sends a request.

| id                     | finds                                                           |
|------------------------|-----------------------------------------------------------------|
| ``cloudcached.E001``   | ``LOCATION`` is missing, or not a cache URL                     |
| ``cloudcached.E002``   | ``OPTIONS`` holds an unknown option or an invalid value         |
| ``cloudcached.E003``   | ``TIMEOUT`` is neither a number of seconds nor ``None``         |
| ``cloudcached.W004``   | ``OPTIONS`` turns signing off                                   |
| ``cloudcached.W005``   | sessions are kept in the cache only                             |
| ``cloudcached.E006``   | a test run would use a bucket that is not on this machine       |
"""

from __future__ import annotations

import ipaddress
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from typing import Any
from urllib.parse import urlsplit

from django.conf import settings
from django.core.cache import caches
from django.core.checks import CheckMessage, Error, Tags, register
from django.core.checks import Warning as CheckWarning

from cloudcached import Client, ConfigError

from .backend import S3Cache
from .configuration import given_options, is_unsigned, seconds_of, timeout_setting


def _our_caches() -> Iterator[tuple[str, Mapping[str, Any]]]:
    for alias in settings.CACHES:
        if isinstance(caches[alias], S3Cache):
            yield alias, settings.CACHES[alias]


def _mistake(attempt: Callable[..., object], *args: Any, **options: Any) -> ConfigError | None:
    try:
        attempt(*args, **options)
    except ConfigError as error:
        return error
    return None


@register(Tags.caches)
def check_location(**_: Any) -> list[CheckMessage]:
    """Report each cache whose ``LOCATION`` is missing, or not a cache URL."""
    return [
        Error(
            f"The LOCATION of your '{alias}' cache cannot be used: {error}.",
            hint="Set it to 's3://bucket/prefix', or to 'memory://name' to try CloudCached without S3.",
            id="cloudcached.E001",
        )
        for alias, params in _our_caches()
        if (error := _mistake(Client, params.get("LOCATION", "")))
    ]


@register(Tags.caches)
def check_options(**_: Any) -> list[CheckMessage]:
    """Report each cache whose ``OPTIONS`` the core rejects."""
    return [
        Error(
            f"The OPTIONS of your '{alias}' cache cannot be used: {error}.",
            hint="Correct the option or remove it. MAX_ENTRIES and CULL_FREQUENCY may stay: they have no effect.",
            id="cloudcached.E002",
        )
        for alias, params in _our_caches()
        if (error := _mistake(Client, _usable_location(params), **given_options(params)))
    ]


def _usable_location(params: Mapping[str, Any]) -> str:
    # Some options are for certain stores only, so they need a LOCATION; E001 reports a bad one.
    location: str = params.get("LOCATION", "")
    return "s3://bucket" if _mistake(Client, location) else location


@register(Tags.caches)
def check_timeout(**_: Any) -> list[CheckMessage]:
    """Report each cache whose ``TIMEOUT`` is invalid; ``BaseCache`` would silently use 300 seconds instead."""
    return [
        Error(
            f"The TIMEOUT of your '{alias}' cache cannot be used: {error}.",
            hint="Set it to a number of seconds, or to None to keep entries until they are deleted. Default: 300.",
            id="cloudcached.E003",
        )
        for alias, params in _our_caches()
        if (error := _mistake(seconds_of, timeout_setting(params)))
    ]


@register(Tags.caches, Tags.security)
def check_signing(**_: Any) -> list[CheckMessage]:
    """Report each cache that does not sign its entries."""
    return [
        CheckWarning(
            f"Your '{alias}' cache is not signed: anyone who can write to its bucket can choose what your site reads "
            "from it, and only values of plain types can be stored, not pages.",
            hint="Remove 'signing_key' from OPTIONS to sign with SECRET_KEY, or set it to a secret.",
            id="cloudcached.W004",
        )
        for alias, params in _our_caches()
        if is_unsigned(params)
    ]


@register(Tags.caches)
def check_sessions(**_: Any) -> list[CheckMessage]:
    """Report sessions that are kept only in one of our caches."""
    alias = settings.SESSION_CACHE_ALIAS
    if settings.SESSION_ENGINE != "django.contrib.sessions.backends.cache" or alias not in dict(_our_caches()):
        return []
    return [
        CheckWarning(
            f"Your sessions are kept only in the '{alias}' cache: while S3 does not answer, nobody is logged in, and "
            "clearing the cache logs everybody out.",
            hint="Set SESSION_ENGINE to 'django.contrib.sessions.backends.cached_db', which also keeps them in the "
            "database.",
            id="cloudcached.W005",
        )
    ]


@register(Tags.caches)
def check_test_run(**_: Any) -> list[CheckMessage]:
    """Report each cache that a test run would read, write and clear in a bucket that is not on this machine."""
    if not _is_test_run():
        return []
    return [
        Error(
            f"This test run would use the bucket of your '{alias}' cache, {params['LOCATION']}.",
            hint="Set LOCATION to 'memory://test' in the settings of your tests, or set a local S3 server in "
            "AWS_ENDPOINT_URL_S3. If this bucket is for tests, add this check to SILENCED_SYSTEM_CHECKS.",
            id="cloudcached.E006",
        )
        for alias, params in _our_caches()
        if _is_bucket(params.get("LOCATION", "")) and not _is_on_this_machine(_endpoint(params))
    ]


def _is_bucket(location: object) -> bool:
    # Only a LOCATION that passes E001: the message shows it, and an invalid one may hold a secret.
    return str(location).startswith("s3://") and _mistake(Client, location) is None


def _is_test_run() -> bool:
    # pytest sets this variable for the whole session, and documents it for this purpose.
    return "test" in sys.argv[1:2] or "PYTEST_VERSION" in os.environ


def _endpoint(params: Mapping[str, Any]) -> str:
    """Return the endpoint that boto3 would use, "" for AWS itself; boto3's configuration file is not read."""
    s3 = given_options(params).get("s3")
    given = s3.get("endpoint_url") if isinstance(s3, Mapping) else None
    return given or os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL") or ""


def _is_on_this_machine(endpoint: str) -> bool:
    host = urlsplit(endpoint).hostname or ""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")
