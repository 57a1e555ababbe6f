"""What a cache's entry in ``CACHES`` means for the core: the one place that reads it, for the backend and the checks."""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Mapping
from typing import Any, Final

from django.conf import settings

from cloudcached import ConfigError

#: Django's own names in ``OPTIONS``: a cache in S3 has no limit, so nothing is ever culled.
NO_EFFECT: Final = frozenset({"MAX_ENTRIES", "CULL_FREQUENCY"})


def given_options(params: Mapping[str, Any]) -> dict[str, Any]:
    """Return the core's options as ``OPTIONS`` gives them."""
    return {name: value for name, value in params.get("OPTIONS", {}).items() if name not in NO_EFFECT}


def client_options(params: Mapping[str, Any]) -> dict[str, Any]:
    """Return the core's options with Django's defaults.

    Signed by ``SECRET_KEY``, its fallbacks verify; silent in an outage: a site serves its pages without a cache rather
    than not at all.
    """
    options = {"fail_silently": True, **given_options(params)}
    if "signing_key" not in options:
        # An empty fallback, such as an unset environment variable gives, would verify what anyone has signed.
        options["signing_key"] = [key for key in (settings.SECRET_KEY, *settings.SECRET_KEY_FALLBACKS) if key]
    return options


def is_unsigned(params: Mapping[str, Any]) -> bool:
    """Tell whether ``OPTIONS`` switch signing off."""
    return "signing_key" in given_options(params) and not given_options(params)["signing_key"]


def timeout_setting(params: Mapping[str, Any]) -> Any:
    """Return ``TIMEOUT`` as it was given, 300 by default."""
    return params.get("timeout", params.get("TIMEOUT", 300))


def seconds_of(timeout: object) -> float | dt.timedelta | None:
    """Return a ``TIMEOUT`` setting in seconds (a timedelta as it is), ``None`` for never.

    Raises ``ConfigError`` for what is none of these, where ``BaseCache`` takes 300.
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
