"""Which tags an entry's object gets, and which lives are refused."""

from __future__ import annotations

from typing import Any

import pytest

from cloudcached import ConfigError
from cloudcached.config import Config
from cloudcached.engine.lifetimes import Lifetimes
from cloudcached.entry.expiry import DAY_SECONDS
from cloudcached.entry.keys import Names
from cloudcached.testing import FakeClock

NAME = "p/ab/key"


def lifetimes(clock: FakeClock, url: str = "s3://bucket/p", **options: Any) -> Lifetimes:
    return Lifetimes(Config.parse(url, options), clock)


def in_days(clock: FakeClock, days: float) -> int:
    return int((clock.time() + days * DAY_SECONDS) * 1000)


def test_without_the_options_there_is_nothing_to_ask(clock: FakeClock) -> None:
    off = lifetimes(clock)
    assert not off.active
    assert off.tags(NAME, None) is off.tags(NAME, in_days(clock, 1000)) is None
    assert lifetimes(clock, expiry_tags=True).active
    assert lifetimes(clock, max_age_days=1).active


@pytest.mark.parametrize(("days", "tag"), [(-1, "1"), (0.5, "1"), (2, "3"), (365, "365"), (366, None)])
def test_the_tag_is_the_class(clock: FakeClock, days: float, tag: str | None) -> None:
    tagging = lifetimes(clock, expiry_tags=True)
    assert tagging.tags(NAME, in_days(clock, days)) == (None if tag is None else {"cc-ttl": tag})
    assert tagging.tags(NAME, None) is None


def test_a_life_is_measured_from_now(clock: FakeClock) -> None:
    tagging = lifetimes(clock, expiry_tags=True, max_age_days=2)
    deadline = in_days(clock, 3)
    with pytest.raises(ConfigError, match=r"p/ab/key expires in 3\.0 days.*max_age_days=2"):
        tagging.tags(NAME, deadline)
    clock.advance(2 * DAY_SECONDS)
    assert tagging.tags(NAME, deadline) == {"cc-ttl": "1"}


@pytest.mark.parametrize("prefix", ["p", ""])
def test_no_rule_is_for_what_is_reserved(clock: FakeClock, prefix: str) -> None:
    strict = lifetimes(clock, f"s3://bucket/{prefix}", expiry_tags=True, max_age_days=1)
    assert strict.tags(Names(prefix).reserved("lock", "name"), None) is None
    with pytest.raises(ConfigError, match="never expires"):
        strict.tags(Names(prefix).object_key("name")[0], None)
