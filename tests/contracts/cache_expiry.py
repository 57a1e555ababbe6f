"""When entries are gone, and what each verb makes of one that is."""

from __future__ import annotations

import datetime as dt
import math

import pytest

from cloudcached import MISSING, ConfigError, KeyMissing
from cloudcached.testing import FakeClock

#: As long as a millisecond before the deadline.
JUST_BEFORE = 59.998


class ExpiryContract:
    """Time is the fake clock's alone."""

    def test_an_entry_is_live_until_its_deadline_and_gone_at_it(self, cache, clock: FakeClock):
        cache.put("k", "v", 60)
        clock.advance(JUST_BEFORE)
        assert cache.get("k") == "v"
        assert cache.has("k")
        assert cache.ttl("k") == pytest.approx(60 - JUST_BEFORE, abs=1e-5)
        assert cache.info("k") is not None
        assert cache.get_many(["k"]) == {"k": "v"}
        clock.advance(60 - JUST_BEFORE)
        assert clock.time() == 1_800_000_060.0
        assert cache.get("k", MISSING) is MISSING
        assert not cache.has("k")
        assert cache.ttl("k") == 0
        assert cache.ttl("k") is not None
        assert cache.info("k") is None
        assert cache.get_many(["k"]) == {}

    @pytest.mark.parametrize("seconds", [90, 90.0, dt.timedelta(seconds=90), dt.timedelta(minutes=1.5)], ids=repr)
    def test_time_to_expire_is_seconds_or_a_timedelta(self, cache, seconds):
        cache.put("k", "v", seconds)
        assert cache.ttl("k") == 90

    def test_the_default_is_an_hour(self, cache):
        cache.put("put", 1)
        cache.put("update", 1, 1)
        cache.update("update", 2)
        cache.put("touch", 1, 1)
        cache.touch("touch")
        cache.incr("incr", initial=0)
        cache.get_or_put("get_or_put", 1)
        cache.put_many({"put_many": 1})
        assert {key: cache.ttl(key) for key in list(cache.keys())} == dict.fromkeys(
            ["put", "update", "touch", "incr", "get_or_put", "put_many"], 3600
        )

    def test_fractions_of_a_second_count(self, cache, clock: FakeClock):
        cache.put("k", "v", 0.25)
        clock.advance(0.125)
        assert cache.get("k") == "v"
        clock.advance(0.125)
        assert cache.get("k") is None

    def test_none_is_never(self, cache, clock: FakeClock):
        cache.put("k", "v", None)
        assert cache.ttl("k") is None
        clock.advance(10**10)
        assert cache.get("k") == "v"
        assert cache.ttl("k") is None

    @pytest.mark.parametrize("seconds", [math.inf, 10**400, 1e300, dt.timedelta.max], ids=lambda v: f"{v!r:.12}")
    def test_what_is_longer_than_datetimes_last_lives(self, cache, clock: FakeClock, seconds):
        cache.put("k", "v", seconds)
        clock.advance(10**9)
        assert cache.get("k") == "v"
        assert cache.ttl("k") > 10**9
        assert dt.datetime.fromtimestamp(cache.info("k").expires, dt.timezone.utc).year == 9999

    @pytest.mark.parametrize(
        "seconds",
        [0, 0.0, -0.0, -1, -0.001, -(10**400), -math.inf, dt.timedelta(0), dt.timedelta.min],
        ids=lambda v: f"{v!r:.12}",
    )
    def test_zero_or_less_is_gone_at_once(self, cache, seconds):
        assert cache.put("k", "v", seconds) is True
        assert cache.get("k", MISSING) is MISSING
        assert cache.put("k", "v", seconds, replace=True) is True
        assert cache.get("k", MISSING) is MISSING
        assert list(cache.keys()) == []

    def test_put_of_nothing_lasting_leaves_a_live_entry_alone_unless_it_replaces(self, cache):
        cache.put("k", "old")
        assert cache.put("k", "new", 0) is False
        assert cache.get("k") == "old"
        assert cache.put("k", "new", -1, replace=True) is True
        assert cache.get("k", MISSING) is MISSING

    def test_update_and_touch_to_nothing_lasting_remove_a_live_entry(self, cache, clock: FakeClock):
        cache.put_many({"a": 1, "b": 2, "c": 3})
        assert cache.update("a", 9, 0) is True
        assert cache.touch("b", -5) is True
        assert cache.expire_at("c", clock.time()) is True
        assert cache.get_many(["a", "b", "c"]) == {}
        assert cache.update("a", 9, 0) is False
        assert cache.touch("b", 0) is False
        assert cache.expire_at("c", 0) is False

    @pytest.mark.parametrize("replace", [False, True])
    def test_put_over_an_expired_entry(self, cache, clock: FakeClock, replace):
        cache.put("k", "old", 10)
        clock.advance(10)
        assert cache.put("k", "new", 60, replace=replace) is True
        assert cache.get("k") == "new"
        assert cache.ttl("k") == 60

    def test_no_verb_revives_an_expired_entry(self, cache, clock: FakeClock):
        cache.put("k", 5, 10)
        clock.advance(10)
        assert cache.update("k", 6) is False
        assert cache.touch("k") is False
        assert cache.persist("k") is False
        assert cache.expire_at("k", clock.time() + 60) is False
        for count in (cache.incr, cache.decr):
            with pytest.raises(KeyMissing):
                count("k")
        assert cache.get("k", MISSING) is MISSING
        assert cache.delete("k") is False

    def test_incr_begins_anew_over_an_expired_entry(self, cache, clock: FakeClock):
        cache.put("n", 5, 10)
        clock.advance(10)
        assert cache.incr("n", initial=0, time_to_expire=60) == 1
        assert cache.ttl("n") == 60

    def test_get_or_put_computes_anew_over_an_expired_entry(self, cache, clock: FakeClock):
        cache.put("k", "old", 10)
        clock.advance(10)
        assert cache.get_or_put("k", lambda: "new") == "new"
        assert cache.get("k") == "new"

    def test_touch_shortens_too(self, cache, clock: FakeClock):
        cache.put("k", "v", None)
        assert cache.touch("k", 5) is True
        clock.advance(5)
        assert cache.get("k") is None

    def test_touch_to_none_is_never(self, cache):
        cache.put("k", "v", 5)
        assert cache.touch("k", None) is True
        assert cache.ttl("k") is None

    def test_expire_at_takes_a_datetime_with_and_without_a_zone_and_epoch_seconds(self, cache, clock: FakeClock):
        cache.put("k", "v")
        moment = clock.time() + 90
        zone = dt.timezone(dt.timedelta(hours=5))
        for when in (
            moment,
            int(moment),
            dt.datetime.fromtimestamp(moment, zone),
            dt.datetime.fromtimestamp(moment),  # noqa: DTZ006 - local time is what it means
        ):
            assert cache.expire_at("k", when) is True
            assert cache.ttl("k") == 90
            cache.touch("k", 1)
        assert cache.expire_at("other", moment) is False

    def test_expire_at_of_a_moment_that_never_comes(self, cache):
        cache.put("k", "v")
        assert cache.expire_at("k", math.inf) is True
        assert cache.ttl("k") > 10**9

    @pytest.mark.parametrize("when", ["tomorrow", None, math.nan, True, dt.timedelta(1), dt.date(2030, 1, 1)], ids=repr)
    def test_expire_at_of_what_is_no_moment(self, cache, when):
        cache.put("k", "v")
        with pytest.raises(ConfigError, match="datetime"):
            cache.expire_at("k", when)
        assert cache.get("k") == "v"
