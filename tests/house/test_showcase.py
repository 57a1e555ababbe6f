"""The parts of the showcase, without a browser: its plug, its film, its crowd, and what it tells of a visit."""

from __future__ import annotations

import io
import json
import logging
import os
import socket
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.error import URLError
from urllib.parse import urlsplit
from urllib.request import ProxyHandler, build_opener

import numpy as np
import pytest
from PIL import Image
from werkzeug.test import Client

from example_project import crowd, ising, outage, plug, quench, visits

ROOT = Path(__file__).resolve().parents[2]


class Hello(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    together = threading.Barrier(crowd.SIZE)

    def do_GET(self) -> None:
        if self.path == "/together":
            self.together.wait(30)  # until all are here
        body = json.dumps({"path": self.path}).encode()
        self.send_response(HTTPStatus.OK)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *arguments: object) -> None:
        """Say nothing."""


@pytest.fixture
def hello() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Hello) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield "http://{}:{}".format(*server.server_address)
        server.shutdown()
        thread.join()


@pytest.fixture
def wire(hello: str) -> Iterator[plug.Plug]:
    with closing(plug.Plug(hello)) as wire:
        yield wire


def fetch(url: str) -> bytes:
    with build_opener(ProxyHandler({})).open(url, timeout=5) as answer:
        return answer.read()


# The plug


def test_plug_forwards_refuses_and_forwards_again_at_one_address(wire: plug.Plug) -> None:
    for _ in range(2):
        assert json.loads(fetch(wire.address + "/there"))["path"] == "/there"
        wire.pull()
        assert not wire.is_in
        with pytest.raises(URLError, match="refused"):
            fetch(wire.address)
        wire.pull()  # once more changes nothing
        wire.put_in()
        wire.put_in()
    assert wire.is_in


def test_plug_breaks_off_what_is_open(wire: plug.Plug) -> None:
    with socket.create_connection(urlsplit(wire.address).netloc.split(":"), timeout=5) as client:
        client.sendall(b"GET / HTTP/1.1\r\nHost: s3\r\n\r\n")
        assert client.recv(100).startswith(b"HTTP/1.1 200")
        wire.pull()
        while client.recv(1000):
            pass  # what had come; then the end, and no timeout


def test_plug_is_switched_by_the_pages_of_the_demo_alone(wire: plug.Plug) -> None:
    switch = Client(wire)
    assert switch.get("/").json == {"address": wire.address, "in": True}
    assert switch.post("/", data="out").status_code == HTTPStatus.FORBIDDEN
    assert wire.is_in
    assert switch.post("/", data="out", headers={plug.HEADER: "demo"}).json["in"] is False
    assert switch.post("/", data="in", headers={plug.HEADER: "demo"}).json["in"] is True


def test_outage_is_known_from_the_records_of_the_cache() -> None:
    watch = outage.Watch()
    outage.lines.clear()
    for number in range(2 * outage.KEPT):
        event = ("outage", "recovery")[number % 2]
        record = logging.makeLogRecord({"msg": f"{event} {number} (details)", "event": event})
        watch.handle(record)
        assert outage.away == (event == "outage")
    watch.handle(logging.makeLogRecord({"msg": "something else"}))
    assert len(outage.lines) == outage.KEPT
    assert outage.lines[-2][1] == f"outage {2 * outage.KEPT - 2}"
    outage.lines.clear()


# The film


def test_quench_begins_in_disorder_and_grows_patches_in_the_cold_alone() -> None:
    cold, hot = (ising.quench(t, side=64, times=[0, 1, 30]) for t in (1.0, 5.0))

    def borders(up: ising.Bools) -> float:
        return float((up != np.roll(up, 1, 0)).mean() + (up != np.roll(up, 1, 1)).mean()) / 2

    assert 0.45 < cold[0].mean() < 0.55
    assert np.array_equal(cold[0], hot[0])
    assert [round(borders(up), 1) for up in (cold[0], hot[0], hot[2])] == [0.5, 0.5, 0.4]
    assert borders(cold[2]) < 0.12
    same, other = ising.quench(1.0, side=64, times=[30]), ising.quench(1.0, side=64, times=[30], seed=1)
    assert np.array_equal(same[0], cold[2])
    assert not np.array_equal(other[0], cold[2])


def test_frames_show_every_spin_and_are_small() -> None:
    up = ising.quench(1.0, side=64, times=[3])[0]
    image = Image.open(io.BytesIO(quench.png(up)))
    assert image.size == (64, 64)
    assert np.array_equal(np.array(image.convert("RGBA"))[..., 3] > 0, up)
    assert len(quench.png(up)) < 1500
    frames = {quench.key(state, time) for state in quench.TEMPERATURES for time in quench.TIMES}
    assert len(frames) == 3 * len(quench.TIMES)
    assert sorted(set(quench.TIMES)) == quench.TIMES


# The crowd


def test_crowd_asks_at_once_and_tells_of_each_visit(hello: str) -> None:
    seen = list(crowd.ask(hello + "/together"))
    assert sorted(visit["number"] for visit in seen) == list(range(crowd.SIZE))
    assert {visit["path"] for visit in seen} == {"/together"}
    assert all(0 <= visit["begun"] <= visit["ended"] for visit in seen)


def test_crowd_tells_of_errors(wire: plug.Plug) -> None:
    wire.pull()
    assert all("refused" in visit["error"] for visit in crowd.ask(wire.address))


# What is told of a visit


def test_line_tells_what_s3_was_asked_and_nothing_where_others_were_under_way() -> None:
    counts = Counter({"requests.get": 5, "requests.put": 2, "hits": 3})
    visit = visits.begin(lambda: dict(counts))
    assert b"made" in visit.line()
    assert b"Requests to S3: none" in visit.line()
    counts.update({"requests.get": 2, "requests.head": 1, "hits": 9})
    assert visit.asked() == {"GET": 2, "HEAD": 1}
    assert b'class="told cached"' in visit.line()
    assert b"Requests to S3: 2 GET, 1 HEAD" in visit.line()
    beside = visits.begin(lambda: dict(counts))
    assert b"Requests to S3" not in visit.line()
    assert b"Requests to S3" not in beside.line()
    visit.end()
    beside.end()
    after = visits.begin(lambda: dict(counts))
    with visits.computing("a note"):
        counts.update({"requests.put": 1})
    assert b"computed" in after.line()
    assert b"Requests to S3: 1 PUT</span> <span>a note</span>" in after.line()
    after.end()


# Without a plug, and for strangers

ASK = """
import django
from django.test import Client
from django.test.utils import setup_test_environment

django.setup()
setup_test_environment()
page = Client().get("/plug/")
assert page.status_code == 200 and b"There is no plug here" in page.content and b"<form" not in page.content
for path in ("/plug/out/", "/stampede/run/faster/"):
    assert Client().post(path).status_code == 404, path
    assert Client(enforce_csrf_checks=True).post(path).status_code == 403, path
assert Client().get("/stampede/value/forged/").status_code == 404
seen = Client().get("/plug/tick/").json()
assert seen["computed"] and not Client().get("/plug/tick/").json()["computed"]
"""


def test_bucket_of_ones_own_has_no_plug_and_buttons_are_not_for_strangers() -> None:
    env = {"DJANGO_SETTINGS_MODULE": "example_project.settings", "ISING_EFFORT": "0.02"}
    inherited = {name: value for name, value in os.environ.items() if name not in {"CLOUDCACHED_URL", "PLUG_ADDRESS"}}
    done = subprocess.run(
        [sys.executable, "-c", ASK], cwd=ROOT, env=inherited | env, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
