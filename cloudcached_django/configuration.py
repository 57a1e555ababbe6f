"""Reads a cache's entry in ``CACHES`` for the backend and the checks: the only place that does."""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Mapping
from typing import Any, Final

from django.conf import settings

from cloudcached import ConfigError

#: Options of Django's own that have no effect: a cache in S3 has no size limit, so nothing is ever culled.
NO_EFFECT: Final = frozenset({"MAX_ENTRIES", "CULL_FREQUENCY"})


def given_options(params: Mapping[str, Any]) -> dict[str, Any]:
    """Return the core's options in ``OPTIONS``."""
    return {name: value for name, value in params.get("OPTIONS", {}).items() if name not in NO_EFFECT}


def client_options(params: Mapping[str, Any]) -> dict[str, Any]:
    """Return the core's options with the defaults for Django.

    ``SECRET_KEY`` signs, its fallbacks verify too. Outages are silent: a site without a cache is better than none.
    """
    options = {"fail_silently": True, **given_options(params)}
    if "signing_key" not in options:
        # With an empty fallback, from an unset environment variable for example, anyone could sign entries.
        options["signing_key"] = [key for key in (settings.SECRET_KEY, *settings.SECRET_KEY_FALLBACKS) if key]
    return options


def is_unsigned(params: Mapping[str, Any]) -> bool:
    """Whether ``OPTIONS`` turn signing off."""
    return "signing_key" in given_options(params) and not given_options(params)["signing_key"]


def timeout_setting(params: Mapping[str, Any]) -> Any:
    """Return the ``TIMEOUT`` setting itself, 300 by default."""
    return params.get("timeout", params.get("TIMEOUT", 300))


def seconds_of(timeout: object) -> float | dt.timedelta | None:
    """Return a ``TIMEOUT`` setting in seconds, a timedelta unchanged, ``None`` for never.

    Raises ``ConfigError`` for anything else, where ``BaseCache`` uses 300.
    """
    if timeout is None or isinstance(timeout, dt.timedelta):
        return timeout
    try:
        seconds = float(timeout)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        seconds = math.nan
    if math.isnan(seconds):
        raise ConfigError(f"TIMEOUT is a number of seconds, or None for never; not {timeout!r}")
    return seconds
