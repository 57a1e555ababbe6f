"""The fixtures for people's own tests, used as they are, and in projects of their own."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from cloudcached import Client, StoreTimeout, StoreUnreachable
from cloudcached.stores import wrapper
from cloudcached.stores.port import Store
from cloudcached.testing import LocalServer
from cloudcached.testing.stores import VERBS, Wrapper

#: Made before any fixture.
EARLY = Client("memory://")


class TestFixtures:
    def test_a_cache_that_was_there_before(
        self, cloudcached_requests: Any, cloudcached_clock: Any, cloudcached_faults: Any
    ) -> None:
        EARLY.put("key", 1, 60, replace=True)
        cloudcached_clock.advance(60)
        assert EARLY.get("key") is None
        cloudcached_faults.fail(1, on="get")
        assert EARLY.get("key") is None
        assert cloudcached_requests == {"put": 1, "get": 3}
        assert cloudcached_requests.copy() == {"put": 1, "get": 3}
        cloudcached_faults.fail(None)
        with pytest.raises(StoreUnreachable):
            EARLY.get("key")

    def test_the_near_tier_goes_by_the_clock(self, cloudcached_clock: Any, cloudcached_requests: Any) -> None:
        client = Client("memory://", near={"max_bytes": 1_000_000, "max_age": 5})
        client.put("key", 1)
        assert [client.get("key") for _ in range(3)] == [1, 1, 1]
        assert cloudcached_requests == {"put": 1, "get": 1}
        cloudcached_clock.advance(5)
        assert client.get("key") == 1
        assert [(request.verb, request.condition) for request in cloudcached_requests.seen] == [
            ("put", "if absent"),
            ("get", ""),
            ("get", "unless"),
        ]

    def test_locks_know_the_time_of_the_server(self, cloudcached_s3: Client, cloudcached_requests: Any) -> None:
        with cloudcached_s3.lock("job", timeout=30) as lock:
            assert lock.fencing == 1
            assert not cloudcached_s3.lock("job").acquire(blocking=False)
        assert cloudcached_requests == {"get": 2, "put": 2}
        (name,) = {name for request in cloudcached_requests.seen for name in request.object_keys}
        store = cloudcached_s3.engine.store
        assert store.head(name, timeout=1).date is not None
        assert cloudcached_requests["head"] == 1

    def test_slow_answers_take_their_time(
        self, cloudcached: Client, cloudcached_faults: Any, cloudcached_clock: Any
    ) -> None:
        began = cloudcached_clock.monotonic()
        cloudcached_faults.slow(2.0, 2)
        assert cloudcached.put("key", 1)
        assert cloudcached.get("key") == 1
        assert cloudcached_clock.monotonic() - began == 4.0

    def test_inside_mock_aws(self, cloudcached_s3: Client) -> None:
        """It lets pass what is not for AWS, and so do we."""
        from moto import mock_aws

        with mock_aws():
            assert cloudcached_s3.put("key", 1)
        assert cloudcached_s3.get("key") == 1

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


PAGE = Path(__file__).parents[2] / "docs" / "testing.md"
SETTINGS = """
SECRET_KEY = "secret"
ALLOWED_HOSTS = ["testserver"]
ROOT_URLCONF = "site_urls"
INSTALLED_APPS = ["cloudcached_django"]
USE_TZ = True
CACHES = {"default": {"BACKEND": "cloudcached_django.S3Cache", "LOCATION": "s3://production/site"}}
"""
URLS = """
from django.http import HttpResponse
from django.urls import path
from django.views.decorators.cache import cache_page

urlpatterns = [path("", cache_page(60)(lambda request: HttpResponse("computed")))]
"""


def blocks(heading: str = "") -> dict[str, str]:
    """Return the files that the page shows under a heading, by name."""
    text = PAGE.read_text(encoding="utf-8")
    section = text.partition(f"## {heading}\n")[2] if heading else text
    return dict(re.findall(r"```python\n# (\w+\.py)\n(.*?)```", section.partition("\n## ")[0], re.DOTALL))


@pytest.fixture
def project(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> pytest.Pytester:
    """Give an empty project, whose runs have no settings of ours."""
    monkeypatch.delenv("DJANGO_SETTINGS_MODULE", raising=False)
    monkeypatch.setenv("PYTHONPATH", str(pytester.path))
    configure(pytester)
    return pytester


def configure(project: pytest.Pytester, *lines: str) -> None:
    """Write the settings; pytest-asyncio warns of one that does not name a scope."""
    project.makeini("\n".join(["[pytest]", "asyncio_default_fixture_loop_scope = function", *lines]))


def write(project: pytest.Pytester, files: dict[str, str]) -> None:
    for name, text in files.items():
        (project.path / name).write_text(text)


@pytest.mark.checkout
@pytest.mark.slow
class TestPage:
    def test_plain_python(self, project: pytest.Pytester) -> None:
        files = blocks()
        assert list(files) == ["test_prices.py"]
        write(project, files)
        project.runpytest_subprocess("-W", "error").assert_outcomes(passed=5)

    def test_django(self, project: pytest.Pytester) -> None:
        files = blocks("Django")
        assert list(files) == ["conftest.py", "test_site.py", "test_unittest.py"]
        configure(project, "cloudcached_hosts = loopback")
        write(project, {**files, "site_settings.py": SETTINGS, "site_urls.py": URLS})
        project.runpytest_subprocess("--ds", "site_settings", "-W", "error").assert_outcomes(passed=4)

    def test_flask_and_mock_aws(self, project: pytest.Pytester) -> None:
        files = {**blocks("Flask"), **blocks("Inside mock_aws")}
        assert list(files) == ["test_app.py", "test_mocked.py"]
        write(project, files)
        project.runpytest_subprocess().assert_outcomes(passed=2)


FOREIGN = """
import threading

import pytest

from cloudcached import Client

cache = Client("s3://production/site", fail_silently=True)

def test_it_fails_although_the_cache_is_silent():
    cache.get("key")

def test_it_fails_in_bulk():
    cache.get_many(["a", "b"])

def test_the_local_server_is_fine(cloudcached_s3):
    assert cloudcached_s3.put("key", 1)

def test_memory_is_fine(cloudcached):
    assert cloudcached.put("key", 1)

def test_faults_go_before_nothing(cloudcached_faults):
    cloudcached_faults.fail(None)
    cache.get("key")
"""


@pytest.mark.slow
class TestGuard:
    def test_mock_aws_answers_for_aws_alone(self, project: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
        for name, value in LocalServer("").env.items():
            monkeypatch.setenv(name, value)
        monkeypatch.delenv("AWS_ENDPOINT_URL")
        project.makepyprojecttoml(
            "[tool.pytest.ini_options]\ncloudcached_hosts = ['loopback']\nasyncio_default_fixture_loop_scope = 'function'\n"
        )
        (project.path / "tox.ini").unlink()
        project.makepyfile(
            "from moto import mock_aws\nfrom cloudcached import BucketMissing, Client\nimport pytest\n"
            "@mock_aws\ndef test_aws():\n    pytest.raises(BucketMissing, Client('s3://bucket').get, 'key')\n"
            "@mock_aws\ndef test_another(monkeypatch):\n"
            "    monkeypatch.setenv('AWS_ENDPOINT_URL', 'http://storage.invalid')\n    Client('s3://bucket').get('key')\n"
            "def test_without():\n    Client('s3://bucket').get('key')\n"
        )
        result = project.runpytest_subprocess()
        result.assert_outcomes(passed=1, failed=2)
        result.stdout.fnmatch_lines(
            [
                "*this test would use s3://bucket at http://storage.invalid*",
                "*s3://bucket at https://bucket.s3*amazonaws.com*",
            ]
        )

    def test_foreign_buckets_are_refused(self, project: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
        configure(project, "cloudcached_hosts = loopback")
        project.makepyfile(test_foreign=FOREIGN)
        monkeypatch.setenv("AWS_ENDPOINT_URL", "http://storage.invalid")
        result = project.runpytest_subprocess()
        result.assert_outcomes(passed=2, failed=3)
        result.stdout.fnmatch_lines(
            [
                "*this test would use s3://production/site at http://storage.invalid, which is not one of cloudcached_hosts*"
            ]
        )

    def test_a_named_host_is_fine(self, project: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
        configure(project, "cloudcached_hosts = storage.invalid")
        for name, value in LocalServer("http://storage.invalid").env.items():
            monkeypatch.setenv(name, value)
        project.makepyfile("from cloudcached import Client\ndef test(): Client('s3://bucket', timeout=0.2).get('key')")
        project.runpytest_subprocess().stdout.fnmatch_lines(["*StoreUnreachable*", "*1 failed*"])


class TestPlugin:
    def test_it_loads_nothing_heavy(self, project: pytest.Pytester) -> None:
        project.makepyfile(
            "import sys\n"
            "def test(cloudcached, cloudcached_clock, cloudcached_requests, cloudcached_faults):\n"
            "    assert not sys.modules.keys() & {'boto3', 'botocore', 'moto'}\n"
        )
        project.runpytest_subprocess("-p", "no:django").assert_outcomes(passed=1)

    def test_a_project_that_does_not_use_it_is_left_alone(self, project: pytest.Pytester) -> None:
        project.makepyfile(
            "from cloudcached.runtime.clock import SystemClock\nfrom cloudcached.engine.seam import EVERY_STORE\nimport time\n"
            "def test(): assert not EVERY_STORE.arounds and SystemClock.time is time.time\n"
        )
        project.runpytest_subprocess("-W", "error").assert_outcomes(passed=1)

    @pytest.mark.slow
    def test_it_can_be_kept_out(self, project: pytest.Pytester) -> None:
        project.makepyfile("def test(cloudcached): pass")
        result = project.runpytest_subprocess("-p", "no:cloudcached")
        result.assert_outcomes(errors=1)
        result.stdout.fnmatch_lines(["*fixture 'cloudcached' not found*"])

    def test_it_is_registered_once(self, request: pytest.FixtureRequest) -> None:
        from cloudcached.testing import plugin

        names = [name for name, found in request.config.pluginmanager.list_name_plugin() if found is plugin]
        assert names == ["cloudcached"]

    @pytest.mark.slow
    def test_the_server_needs_its_extra(self, project: pytest.Pytester) -> None:
        project.makeconftest(
            "from cloudcached.testing import server\nserver.find_spec = lambda name: None if name == 'moto' else name"
        )
        project.makepyfile("def test(cloudcached_s3): pass")
        result = project.runpytest_subprocess()
        result.assert_outcomes(errors=1)
        result.stdout.fnmatch_lines(["*the local S3 server needs moto: pip install 'cloudcached?testing?'*"])


def test_what_is_put_around_stores_comes_off_again(cloudcached: Client) -> None:
    from cloudcached.engine.seam import EVERY_STORE

    store = cloudcached.engine.store
    with EVERY_STORE.wrapped(lambda inner: (1, inner)):
        with EVERY_STORE.wrapped(lambda inner: (2, inner)):
            later = Client("memory://").engine.store
            assert cloudcached.engine.store == (2, (1, store))
            assert later[0] == 2
            assert later[1][0] == 1
        assert cloudcached.engine.store == (1, store)
    assert cloudcached.engine.store is store


def test_a_wrapper_passes_on_all_that_a_store_can() -> None:
    """What it did not pass on would be neither counted nor disturbed."""
    asked = {name for name in vars(Store) if not name.startswith("_")} - {"close"}
    assert set(VERBS) == asked - {"get_first"}  # a GET too
    assert asked <= set(vars(Wrapper))
    assert asked | {"close"} <= set(vars(wrapper.Wrapper))


def test_a_verb_that_there_is_not(cloudcached_faults: Any) -> None:
    with pytest.raises(ValueError, match="a store has no 'set' request; the kinds are get, "):
        cloudcached_faults.fail(on="set")
