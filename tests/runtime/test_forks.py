"""Forks, gevent and many threads: a child answers at once, with locks and pools of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import Any

import pytest
from fault_proxy import FaultProxy, delays

from cloudcached import Client

#: Seconds. The promise is one; the rest is for a busy machine that imports boto3.
AT_ONCE = 5.0

#: What scripts begin with: a client, children, and lines of JSON that say what happened.
START = """
import json, logging, os, sys, threading, time
log = logging.getLogger("cloudcached")
log.setLevel("INFO")
lines = []
class Lines(logging.Handler):
    def emit(self, record):
        lines.append(record.getMessage())
log.addHandler(Lines())

from cloudcached import Client
client = Client(sys.argv[1], timeout=30)

def tell(**what):
    os.write(1, json.dumps({"pid": os.getpid(), **what}).encode() + b"\\n")  # whole, among those of other processes

def first_call(by=None):
    began = time.monotonic()
    value = (by or client).get("from the parent")
    tell(value=value, seconds=time.monotonic() - began, boto3="botocore" in sys.modules, lines=lines)

def fork(work):
    child = os.fork()
    if child == 0:
        lines.clear()
        work()
        sys.exit()  # the interpreter ends as usual
    return child

def wait(*children):
    for child in children:
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
"""


#: What a script begins with that needs all locks of the library; Python frees its own after a fork.
NOTES_LOCKS = """
import sys, threading
locks, make = [], threading.Lock
def make_noted():
    lock = make()
    if sys._getframe(1).f_globals["__name__"].startswith("cloudcached"):
        locks.append(lock)
    return lock
threading.Lock = make_noted
"""


def run(script: str, *arguments: str, before: str = "") -> list[dict[str, Any]]:
    """Run a script in a process of its own, and return what it told."""
    command = [sys.executable, "-W", "ignore", "-c", f"{before}\n{START}\n{script}", *arguments]
    paths = os.pathsep.join(path for path in sys.path if path)
    env = {**os.environ, "PYTHONPATH": paths}
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False, env=env)
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def check_first_calls(told: list[dict[str, Any]], count: int) -> None:
    """Check that so many children answered at once, by the wire."""
    assert len(told) == count
    for answer in told:
        assert answer["value"] == "value"
        assert answer["seconds"] < AT_ONCE
        assert answer["lines"] == []


class TestFork:
    def test_of_a_process_that_used_its_client(self, s3_url: str) -> None:
        told = run(
            """
client.put("from the parent", "value")
wait(fork(first_call), fork(first_call))
tell(parent=client.get("from the parent"))
""",
            s3_url,
        )
        check_first_calls(told[:2], 2)
        assert told[2]["parent"] == "value"

    def test_of_a_process_that_did_not(self, s3_url: str) -> None:
        Client(s3_url).put("from the parent", "value")
        told = run("wait(fork(first_call), fork(first_call)); first_call()", s3_url)
        check_first_calls(told, 3)
        assert not any(answer["boto3"] for answer in told)

    def test_of_a_fork(self, s3_url: str) -> None:
        told = run(
            """
client.put("from the parent", "value")
wait(fork(lambda: (first_call(), wait(fork(first_call)))))
""",
            s3_url,
        )
        check_first_calls(told, 2)

    def test_everything_works_in_a_child(self, s3_url: str) -> None:
        (told,) = run(
            """
import asyncio

def use(name):
    client.put(name, [1, 2, 3], replace=True)
    client.put_many({f"{name} {n}": n for n in range(40)}, replace=True)
    assert client.get_many(f"{name} {n}" for n in range(40)) == {f"{name} {n}": n for n in range(40)}
    assert asyncio.run(client.aget(name)) == [1, 2, 3]
    with client.lock(name) as lock:
        assert lock.owned()
    assert client.incr(f"{name} 7") == 8
    assert client.update(name, "new") and client.touch(name) and client.delete(name)
    assert client.get_or_put(name, lambda: "computed", lock=True) == "computed"
    client.delete_many([f"{name} {n}" for n in range(20)])
    assert len(list(client.keys(f"{name} "))) == 20
    assert Client.shared(sys.argv[1]) is Client.shared(sys.argv[1])
    client.close()
    assert client.get(name) == "computed"

use("parent")
parents = Client.shared(sys.argv[1])
wait(fork(lambda: (use("child"), tell(other=Client.shared(sys.argv[1]) is not parents))))
use("parent")
""",
            s3_url,
        )
        assert told["other"] is True

    @pytest.mark.slow
    def test_while_threads_of_the_parent_hold_every_lock(self, s3_url: str) -> None:
        told = run(
            """
from cloudcached.runtime import pool
client = Client(sys.argv[1], timeout=30, fail_silently=True)
client.put("from the parent", "value")
client.put("hits", 0)
client.get_many(["a", "b"])
Client.shared(sys.argv[1]).get_or_put("c", 1, lock=True)
for _ in range(32):
    pool._executor().submit(time.sleep, 0.5)  # no thread of the pool is free
for lock in locks:
    lock.acquire()

def child():
    first_call()
    assert client.incr("hits") == 1
    assert Client.shared(sys.argv[1]).get("from the parent") == "value"
    assert client.get_many(["from the parent", "b"]) == {"from the parent": "value"}

wait(fork(child))
for lock in locks:
    lock.release()
assert client.incr("hits") == 2
tell(locks=len(locks))
""",
            s3_url,
            before=NOTES_LOCKS,
        )
        check_first_calls(told[:1], 1)
        assert told[1]["locks"] > 64

    @pytest.mark.slow
    @pytest.mark.real
    def test_in_the_middle_of_everything(self, s3_url: str) -> None:
        """Threads of the parent are at work all the time; what they and the children count adds up."""
        told = run(
            """
client.put("from the parent", "value")
client.lock("busy").locked()
over = threading.Event()
counts = []

def work():
    while not over.is_set():
        counts.append(client.incr("hits", initial=0))
        client.get_many(["from the parent", "hits"])
        client.lock("busy", blocking=False).locked()

def child():
    first_call()
    for _ in range(5):
        client.incr("hits")

threads = [threading.Thread(target=work) for _ in range(4)]
for thread in threads:
    thread.start()
time.sleep(0.2)
for _ in range(2):
    wait(*[fork(child) for _ in range(2)])
over.set()
for thread in threads:
    thread.join()
tell(counted=len(counts), total=client.get("hits"))
""",
            s3_url,
        )
        check_first_calls(told[:-1], 4)
        assert told[-1]["total"] == told[-1]["counted"] + 4 * 5

    def test_while_a_thread_of_the_parent_imports_boto3(self, s3_url: str) -> None:
        told = run(
            """
import importlib.abc

class Slow(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name == "boto3.session":
            importing.set()
            time.sleep(1)

importing = threading.Event()
sys.meta_path.insert(0, Slow())
client.put("from the parent", "value")
aside = Client(sys.argv[1], timeout=30, transport="boto3")
thread = threading.Thread(target=aside.delete, args=["nothing"])
thread.start()
importing.wait()
wait(fork(lambda: first_call(by=aside)))
thread.join()
""",
            s3_url,
        )
        check_first_calls(told, 1)

    def test_a_child_leaves_the_lock_of_its_parent_alone(self, s3_url: str) -> None:
        run(
            """
with client.lock("name") as lock:
    def child():
        assert not lock.owned()
        try:
            lock.release()
        except Exception as error:
            assert type(error).__name__ == "LockError"
        else:
            raise AssertionError("released")
        assert client.lock("name").locked()
    wait(fork(child))
    assert lock.owned()
    child = os.fork()
    if child == 0:
        sys.exit()  # leaves the block
    wait(child)
    assert lock.owned()
""",
            s3_url,
        )


class TestPools:
    @pytest.mark.parametrize(
        "pool",
        [
            "multiprocessing.get_context('fork').Pool(3)",
            "concurrent.futures.ProcessPoolExecutor(3, mp_context=multiprocessing.get_context('fork'))",
        ],
    )
    def test_of_processes(self, pool: str, s3_url: str) -> None:
        (told,) = run(
            f"""
import concurrent.futures, multiprocessing
client.put("from the parent", "value")
client.get_many(["a", "b"])

def task(number):
    began = time.monotonic()
    assert client.get("from the parent") == "value"
    client.put(f"task {{number}}", number)
    assert client.get_many([f"task {{number}}"]) == {{f"task {{number}}": number}}
    return os.getpid(), time.monotonic() - began

with {pool} as workers:
    done = list(workers.map(task, range(30)))
assert client.get_many(f"task {{n}}" for n in range(30)) == {{f"task {{n}}": n for n in range(30)}}
tell(workers=len({{pid for pid, _ in done}}), seconds=max(seconds for _, seconds in done))
""",
            s3_url,
        )
        assert 1 <= told["workers"] <= 3
        assert told["seconds"] < AT_ONCE

    def test_of_workers_that_live_on(self, s3_url: str) -> None:
        """As Celery does it: a parent that has used its client forks workers, which serve task after task."""
        told = run(
            """
from multiprocessing import Pipe
client.put("from the parent", "value")
client.get_many(["a", "b"])

def serve(pipe):
    while (number := pipe.recv()) is not None:
        began = time.monotonic()
        assert client.get_many(["from the parent"]) == {"from the parent": "value"}
        with client.lock(f"lock {number}"):
            client.put(f"task {number}", number)
        pipe.send((client.get(f"task {number}"), time.monotonic() - began))
    tell(lines=lines, boto3="botocore" in sys.modules)

pipes, children = [], []
for _ in range(3):
    ours, theirs = Pipe()
    children.append(fork(lambda: serve(theirs)))
    pipes.append(ours)
for number in range(4):
    for index, pipe in enumerate(pipes):
        pipe.send(number * 3 + index)
    for index, pipe in enumerate(pipes):
        value, seconds = pipe.recv()
        assert value == number * 3 + index
        assert seconds < 5, seconds
for pipe in pipes:
    pipe.send(None)
wait(*children)
""",
            s3_url,
        )
        assert [(worker["lines"], worker["boto3"]) for worker in told] == [([], False)] * 3


class TestGevent:
    def test_greenlets_do_not_wait_for_each_other(self, s3_url: str, server: Any, monkeypatch: Any) -> None:
        Client(s3_url).put("key", "value")
        with FaultProxy(server.endpoint) as proxy:
            proxy.fault = delays(0.3)
            monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.endpoint)
            (told,) = run(
                """
import gevent
client.get("key")
began = time.monotonic()
greenlets = [gevent.spawn(client.get, "key") for _ in range(10)]
gevent.joinall(greenlets, raise_error=True)
seconds = time.monotonic() - began
assert [greenlet.value for greenlet in greenlets] == ["value"] * 10
many = client.get_many(["key", *map(str, range(9))])
counts = [gevent.spawn(client.incr, "hits", initial=0) for _ in range(3)]
gevent.joinall(counts, raise_error=True)
tell(seconds=seconds, many=many, hits=sorted(count.value for count in counts), boto3="botocore" in sys.modules)
""",
                s3_url,
                before="from gevent import monkey; monkey.patch_all()",
            )
        assert not told["boto3"]
        assert told["many"] == {"key": "value"}
        assert told["seconds"] < 2.5  # one after the other would be three
        assert told["hits"] == [1, 2, 3]  # greenlets queue for one key, as threads do
