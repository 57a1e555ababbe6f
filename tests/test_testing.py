"""The fixtures for people's own tests, used as they are, and in projects of their own."""

from __future__ import annotations

from typing import Any

import pytest

from cloudcached import Client, StoreTimeout, StoreUnreachable


class TestFixtures:
    def test_a_fresh_cache(self, cloudcached: Client, cloudcached_requests: Any) -> None:
        assert cloudcached.get("key") is None
        assert cloudcached_requests == {"get": 1}
        cloudcached.put("key", 1, replace=True)
        assert cloudcached_requests == {"get": 1, "put": 1}
        assert [request.condition for request in cloudcached_requests.seen] == ["", ""]
        cloudcached_requests.clear()
        assert cloudcached_requests == {}

    def test_on_the_local_server(self, cloudcached_s3: Client, cloudcached_requests: Any) -> None:
        assert cloudcached_s3.put("key", 1)
        assert cloudcached_s3.get("key") == 1
        assert cloudcached_requests == {"put": 1, "get": 1}

    def test_time_is_the_tests(self, cloudcached: Client, cloudcached_clock: Any) -> None:
        cloudcached.put("key", 1, 60)
        cloudcached_clock.advance(59)
        assert cloudcached.ttl("key") == 1
        cloudcached_clock.advance(1)
        assert cloudcached.get("key") is None

    def test_faults(self, cloudcached: Client, cloudcached_faults: Any, cloudcached_requests: Any) -> None:
        cloudcached.put("key", 1)
        cloudcached_requests.clear()
        cloudcached_faults.fail(2, on="get")
        assert cloudcached.get("key") == 1
        assert cloudcached_requests == {"get": 3}
        cloudcached_faults.fail(None)
        with pytest.raises(StoreUnreachable):
            cloudcached.get("key")
        cloudcached_faults.heal()
        cloudcached_faults.slow(60)
        with pytest.raises(StoreTimeout):
            cloudcached.get("key")
        cloudcached_faults.lose_answers(1, on="put")
        assert cloudcached.incr("key") == 2
        assert cloudcached.get("key") == 2
        assert cloudcached_faults.pending == 0
