"""System checks of the caches that are ours; none of them contacts the network.

| id                     | finds                                                           |
|------------------------|-----------------------------------------------------------------|
| ``cloudcached.E001``   | ``LOCATION`` is missing, or no URL of a cache                   |
| ``cloudcached.E002``   | ``OPTIONS`` holds an unknown option or a value that cannot be   |
| ``cloudcached.E003``   | ``TIMEOUT`` is no number of seconds and not ``None``            |
| ``cloudcached.W004``   | ``OPTIONS`` switches signing off                                |
| ``cloudcached.W005``   | sessions live in the cache alone                                |
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
    """Report each cache whose ``LOCATION`` is missing, or no URL of a cache."""
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
    """Report each cache whose ``OPTIONS`` the core refuses."""
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
    # Some options are for a bucket, others for any store; of a bad LOCATION E001 tells.
    location: str = params.get("LOCATION", "")
    return "s3://bucket" if _mistake(Client, location) else location


@register(Tags.caches)
def check_timeout(**_: Any) -> list[CheckMessage]:
    """Report each cache whose ``TIMEOUT`` is no time, where ``BaseCache`` would silently take 300 seconds."""
    return [
        Error(
            f"The TIMEOUT of your '{alias}' cache cannot be used: {error}.",
            hint="Set it to seconds, or to None to keep entries until they are deleted; without it, it is 300.",
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
            f"Your '{alias}' cache is not signed: whoever can write to its bucket decides what your site reads from "
            "it, and only values of plain types can be stored, not pages.",
            hint="Remove 'signing_key' from OPTIONS to sign with SECRET_KEY, or give a secret there.",
            id="cloudcached.W004",
        )
        for alias, params in _our_caches()
        if is_unsigned(params)
    ]


@register(Tags.caches)
def check_sessions(**_: Any) -> list[CheckMessage]:
    """Report sessions that live in one of our caches alone."""
    alias = settings.SESSION_CACHE_ALIAS
    if settings.SESSION_ENGINE != "django.contrib.sessions.backends.cache" or alias not in dict(_our_caches()):
        return []
    return [
        CheckWarning(
            f"Your sessions live in the '{alias}' cache alone: while S3 does not answer nobody is logged in, and "
            "clearing the cache logs everybody out.",
            hint="Set SESSION_ENGINE to 'django.contrib.sessions.backends.cached_db', which keeps them in the "
            "database too.",
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
            hint="Set LOCATION to 'memory://test' in the settings of your tests, or name a local S3 server in "
            "AWS_ENDPOINT_URL_S3. If this bucket is for tests, add this check to SILENCED_SYSTEM_CHECKS.",
            id="cloudcached.E006",
        )
        for alias, params in _our_caches()
        if _is_bucket(params.get("LOCATION", "")) and not _is_on_this_machine(_endpoint(params))
    ]


def _is_bucket(location: object) -> bool:
    # Only what E001 lets pass: the message prints it, and a bad one may hold a secret.
    return str(location).startswith("s3://") and _mistake(Client, location) is None


def _is_test_run() -> bool:
    # pytest sets the variable for its whole session, and documents it for this use.
    return "test" in sys.argv[1:2] or "PYTEST_VERSION" in os.environ


def _endpoint(params: Mapping[str, Any]) -> str:
    """Return the endpoint that boto3 would take, "" for AWS itself; its configuration file is not read."""
    s3 = given_options(params).get("s3")
    given = s3.get("endpoint_url") if isinstance(s3, Mapping) else None
    return given or os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL") or ""


def _is_on_this_machine(endpoint: str) -> bool:
    host = urlsplit(endpoint).hostname or ""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")
