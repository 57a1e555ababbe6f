"""The store is killed under load and comes back: nothing acknowledged is lost, no wrong value is ever read."""

from __future__ import annotations

import os
import random
import shutil
import socket
import subprocess
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest

from cloudcached import MISSING, Client, CloudCachedError, StoreUnreachable

pytestmark = [pytest.mark.real, pytest.mark.slow, pytest.mark.checkout]

SCRIPT = Path(__file__).parents[1] / "support" / "ceph-s3"
#: Seconds of each phase: up, down, up, down, up.
PHASE = 0.8


class OwnStore:
    """A store that this test may take down."""

    def __init__(self, folder: Path) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        self._env = {**os.environ, "S3_DIR": str(folder), "S3_PORT": str(port), "S3_BYTES": str(1 << 29)}
        lines = self("start").splitlines()
        env = dict(line.removeprefix("export ").split("=", 1) for line in lines)
        #: What the option ``s3`` takes.
        self.settings = {
            "endpoint_url": env["AWS_ENDPOINT_URL"],
            "aws_access_key_id": env["AWS_ACCESS_KEY_ID"],
            "aws_secret_access_key": env["AWS_SECRET_ACCESS_KEY"],
            "region_name": env["AWS_DEFAULT_REGION"],
        }
        # Before the first outage: the next bucket would wait half a minute for the killed gateway.
        boto3.client("s3", **self.settings).create_bucket(Bucket="own")

    def __call__(self, verb: str) -> str:
        done = subprocess.run(["bash", SCRIPT, verb], env=self._env, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout


@pytest.fixture(scope="module")
def store(server: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[OwnStore]:
    if shutil.which("radosgw") is None:
        pytest.skip("Ceph is not installed: tests/support/ceph-s3 install")
    store = OwnStore(tmp_path_factory.mktemp("ceph"))
    yield store
    store("stop")


@pytest.fixture(params=["wire", "boto3"])
def open_client(request: pytest.FixtureRequest, store: OwnStore) -> Iterator[Callable[..., Client]]:
    """Give a function that opens clients of one cache on the store."""
    url = f"s3://own/{uuid.uuid4().hex}"
    opened: list[Client] = []

    def open_client(**options: Any) -> Client:
        opened.append(Client(url, s3=store.settings, transport=request.param, **options))
        return opened[-1]

    yield open_client
    for client in opened:
        client.close()


class Writer:
    """Writes to one key, and knows what may be under it: what was acknowledged, and what has an unknown outcome."""

    def __init__(self, client: Client, key: str) -> None:
        self.client = client
        self.key = key
        self.tried = self.acknowledged = 0
        self.unknown: set[int] = set()
        client.put(key, (key, 0), None, replace=True)

    def work(self) -> None:
        self.tried += 1
        try:
            self.client.put(self.key, (self.key, self.tried), None, replace=True)
        except CloudCachedError:
            self.unknown.add(self.tried)
        else:
            self.acknowledged = self.tried

    def look(self, reader: Client, *, silently: bool = False) -> None:
        """Read the key and compare."""
        low = self.acknowledged
        try:
            value = reader.get(self.key, MISSING)
        except CloudCachedError:
            return
        if value is MISSING and silently:
            return
        key, number = value
        assert key == self.key
        # What failed may be done late, but it is never something that nobody had written.
        assert low <= number <= self.tried or number in self.unknown


class Counter:
    """Counts, and knows between which bounds the sum must be."""

    def __init__(self, client: Client) -> None:
        self.client = client
        self.acknowledged = self.unknown = 0
        self.told: list[int] = []
        self._lock = threading.Lock()

    def work(self) -> None:
        try:
            total = self.client.incr("hits", initial=0, time_to_expire=None)
        except CloudCachedError:
            with self._lock:
                self.unknown += 1
        else:
            with self._lock:
                self.acknowledged += 1
                self.told.append(total)


class Adder:
    """Adds a new key each time, and knows which of them must be there."""

    def __init__(self, client: Client) -> None:
        self.client = client
        self.tried = 0
        self.added: list[str] = []

    def work(self) -> None:
        self.tried += 1
        key = f"added {self.tried}"
        try:
            assert self.client.put(key, key, None) is True
        except CloudCachedError:
            return
        self.added.append(key)


def test_nothing_acknowledged_is_lost(
    store: OwnStore, open_client: Callable[..., Client], caplog: pytest.LogCaptureFixture
) -> None:
    client = open_client(timeout=0.5)
    quiet = open_client(timeout=0.5, fail_silently=True)
    writers = [Writer(client, f"key {number}") for number in range(4)]
    counter, adder = Counter(client), Adder(client)
    over = threading.Event()
    failures: list[BaseException] = []

    def repeat(work: Callable[[], None]) -> None:
        try:
            while not over.is_set():
                work()
                time.sleep(0.002)
        except BaseException as error:  # noqa: BLE001 - raised below
            failures.append(error)

    works = [writer.work for writer in writers] + [counter.work] * 2 + [adder.work]
    works += [lambda: random.choice(writers).look(client)] * 2
    works += [lambda: random.choice(writers).look(quiet, silently=True)] * 2
    threads = [threading.Thread(target=repeat, args=[work]) for work in works]
    for thread in threads:
        thread.start()
    try:
        for verb in ("down", "up", "down", "up"):
            time.sleep(PHASE)
            store(verb)
        time.sleep(PHASE)
    finally:
        over.set()
        for thread in threads:
            thread.join()
    assert failures == []

    calm = open_client(timeout=10)
    for writer in writers:
        writer.look(calm)
        assert writer.acknowledged > 1
        assert writer.unknown  # it was an outage
    assert calm.get_many(adder.added) == {key: key for key in adder.added}
    total = calm.get("hits")
    assert counter.acknowledged <= total <= counter.acknowledged + counter.unknown
    assert len(set(counter.told)) == counter.acknowledged
    assert set(counter.told) <= set(range(1, total + 1))
    stats = [client.stats(), quiet.stats()]
    assert not [name for counts in stats for name in counts if name.startswith("refused")]
    # The silent client has told of it once; it may have rested through both ends and seen one outage.
    assert 1 <= stats[1]["outages"] <= 2
    lines = [record.getMessage().partition(" (")[0] for record in caplog.records if "store" in record.getMessage()]
    assert lines.count("the store cannot be reached") == stats[1]["outages"]


def test_the_objects_outlive_it(store: OwnStore, open_client: Callable[..., Client]) -> None:
    client = open_client(timeout=1)
    client.put_many({f"key {number}": number for number in range(50)}, None)
    with client.lock("name", timeout=None) as lock:
        store("down")
        with pytest.raises(StoreUnreachable):
            client.get("key 1")
        store("up")
        calm = open_client(timeout=10)
        assert calm.get_many(f"key {number}" for number in range(50)) == {f"key {n}": n for n in range(50)}
        assert lock.owned()
        assert calm.lock("name").acquire(blocking=False) is False
