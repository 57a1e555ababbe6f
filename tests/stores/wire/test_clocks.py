"""Clocks that stand still, or are wrong: requests are signed by the server's, and deadlines go by one that nobody stops."""

from __future__ import annotations

import time
from calendar import timegm
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import freezegun
import pytest
import time_machine
from peer import Peer, Stage, answered, headed
from wire_scripts import run
from wire_stores import wire_store

from cloudcached import AccessDenied, StoreTimeout
from cloudcached.stores.port import Matches, Store, Write
from cloudcached.stores.wire.connection import Deadline

SHORT, LONG = 0.4, 60.0
#: Real time, before anything is frozen.
REAL = time.clock_gettime
#: Long before and long after now, and within the quarter of an hour that S3 tolerates.
MOMENTS = ["2001-01-01 00:00:00", "2050-01-01 00:00:00"]


def real_now() -> float:
    """Return the real time, by a clock that neither library stops."""
    return REAL(time.CLOCK_MONOTONIC) + OFFSET


OFFSET = REAL(time.CLOCK_REALTIME) - REAL(time.CLOCK_MONOTONIC)


def http_date(moment: float) -> str:
    days, months = (
        ["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"],
        ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"],
    )
    parts = time.gmtime(moment)
    return (
        f"{days[parts.tm_wday]}, {parts.tm_mday:02} {months[parts.tm_mon - 1]} {parts.tm_year} "
        f"{parts.tm_hour:02}:{parts.tm_min:02}:{parts.tm_sec:02} GMT"
    )


def strict(peer: Peer) -> None:
    """Refuse, as S3 does, what was signed more than a quarter of an hour ago, or ahead."""
    while asked := peer.request():
        stamp = asked.headers["x-amz-date"]
        signed = timegm((*[int(stamp[a:b]) for a, b in ((0, 4), (4, 6), (6, 8), (9, 11), (11, 13), (13, 15))], 0, 0, 0))
        date = http_date(real_now())
        if abs(signed - real_now()) > 900:
            body = b"" if asked.method == "HEAD" else b"<Error><Code>RequestTimeTooSkewed</Code></Error>"
            peer.send(headed(403, {"Date": date, "Content-Length": str(len(body))}, body))
        else:
            peer.send(answered(asked, b"" if asked.method == "PUT" else asked.target.encode(), Date=date))


@pytest.fixture(params=["freezegun", "time-machine", "time-machine, ticking"])
def freezer(request: pytest.FixtureRequest) -> Any:
    """Return a function that freezes the clock until its block ends."""
    if request.param == "freezegun":
        return freezegun.freeze_time
    return lambda moment: time_machine.travel(f"{moment}+00:00", tick="ticking" in request.param)


@pytest.mark.parametrize("moment", MOMENTS)
@pytest.mark.parametrize("first", ["get", "head", "put", "stream", "list", "delete"])
def test_a_frozen_clock(freezer: Any, moment: str, first: str) -> None:
    """Whatever is asked first: the refusal tells the time, and nothing more is refused."""
    from contracts.object_parts import Stream

    with Stage(strict) as stage:
        store = wire_store(stage.endpoint)
        verbs: dict[str, Any] = {
            "get": lambda: store.get("a", timeout=LONG).read(),
            "head": lambda: store.head("a", timeout=LONG).etag,
            "put": lambda: store.put(Write("a", b"x" * 2_000_000, {}, Matches("0" * 32)), timeout=LONG),
            "stream": lambda: store.put(Write("a", Stream(b"x" * 2_000_000), {}), timeout=LONG),
            "list": lambda: store.abort_upload("a", "1", timeout=LONG),
            "delete": lambda: store.delete("a", timeout=LONG),
        }
        with freezer(moment):
            verbs.pop(first)()
            asked = len(stage.asked)
            assert asked <= 2
            for verb in verbs.values():
                verb()
        # And when it goes on.
        store.get("a", timeout=LONG).read()
        assert len(stage.asked) == asked + 6


def test_silence_ends_under_a_frozen_clock(freezer: Any) -> None:
    def play(peer: Peer) -> None:
        peer.request()
        peer.stage.over.wait()

    with Stage(play) as stage, freezer(MOMENTS[0]):
        with pytest.raises(StoreTimeout):
            wire_store(stage.endpoint).get("a", timeout=SHORT)
        with pytest.raises(StoreTimeout):
            wire_store(stage.endpoint).put(Write("a", bytes(4 << 20), {}), timeout=SHORT)


def test_deadlines_pass_under_a_frozen_clock(freezer: Any) -> None:
    with freezer(MOMENTS[0]):
        deadline = Deadline(1e-9)
        while deadline.remaining > 0:
            pass
        with pytest.raises(StoreTimeout):
            deadline.left()


@pytest.fixture(params=[3600, -3600, 400, -86_400 * 400])
def wrong(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> int:
    """Let the clock of this machine be wrong by so many seconds."""

    def clock_gettime(which: int) -> float:
        return REAL(which) + (request.param if which == time.CLOCK_REALTIME else 0)

    monkeypatch.setattr(time, "clock_gettime", clock_gettime)
    return request.param


def test_a_machine_whose_clock_is_wrong(wrong: int) -> None:
    """It is corrected once, and not at all where S3 does not mind."""
    with Stage(strict) as stage:
        store = wire_store(stage.endpoint)
        for name in ("a", "b", "c"):
            assert bytes(store.get(name, timeout=LONG).read()) == f"/bucket/{name}".encode()
        store.put(Write("a", b"x", {}, Matches("0" * 32)), timeout=LONG)
        assert len(stage.asked) == (5 if abs(wrong) > 900 else 4)


def test_a_server_whose_clock_is_wrong_is_followed() -> None:
    """It is its time that counts."""

    def play(peer: Peer) -> None:
        while asked := peer.request():
            if asked.headers["x-amz-date"].startswith("20991231T2359"):
                peer.send(answered(asked, b"hello"))
            else:
                peer.send(headed(403, {"Date": "Thu, 31 Dec 2099 23:59:00 GMT", "Content-Length": "0"}))

    with Stage(play) as stage:
        store = wire_store(stage.endpoint)
        for _ in range(2):
            assert bytes(store.get("a", timeout=LONG).read()) == b"hello"
        assert len(stage.asked) == 3


@pytest.mark.parametrize("offset", [0, 3600])
def test_a_refusal_for_another_reason_is_one(offset: int) -> None:
    """At the right time it is not asked again; at a wrong one once, and not on and on."""

    def play(peer: Peer) -> None:
        while peer.request():
            peer.send(headed(403, {"Date": http_date(real_now() + offset), "Content-Length": "0"}))

    with Stage(play) as stage:
        store = wire_store(stage.endpoint)
        for _ in range(3):
            with pytest.raises(AccessDenied):
                store.get("a", timeout=LONG)
        assert len(stage.asked) == (4 if offset else 3)


def use(store: Store, root: str) -> None:
    """Use every verb of a store once."""
    from contracts.object_parts import PART, Stream

    name = f"{root}a"
    etag = store.put(Write(name, b"hello", {"cc-a": "1"}), timeout=LONG)
    found = store.get(name, timeout=LONG)
    assert (found.head.etag, dict(found.head.metadata), bytes(found.read())) == (etag, {"cc-a": "1"}, b"hello")
    assert found.head.date is not None
    assert abs(found.head.date - real_now()) < 60
    assert store.head(name, timeout=LONG).size == 5
    assert b"".join(map(bytes, store.get_range(name, 1, 2, etag=etag, timeout=LONG))) == b"el"
    assert bytes(store.get_first(name, 2, timeout=LONG).read()) == b"he"
    etag = store.put(Write(name, Stream(b"y" * 2_000_000), {}, Matches(etag)), timeout=LONG)
    assert [row.object_key for row in store.list(root, timeout=LONG)[0]] == [name]
    upload = store.create_upload(name, {}, timeout=LONG)
    parts = [store.put_part(name, upload, number, b"z" * PART, timeout=LONG) for number in (1, 2)]
    store.complete_upload(name, upload, parts, timeout=LONG)
    store.abort_upload(name, store.create_upload(name, {}, timeout=LONG), timeout=LONG)
    assert store.head(name, timeout=LONG).size == 2 * PART
    assert store.delete_many([name], timeout=LONG) == {}
    store.put(Write(name, b"x", {}), timeout=LONG)
    store.delete(name, timeout=LONG)
    assert store.list(root, timeout=LONG)[0] == []


@pytest.fixture
def real(s3_url: str, server: Any) -> Iterator[Any]:
    """Give a store on the server, and a prefix."""
    from cloudcached.stores.wire.request import Keys

    keys = Keys(server.env["AWS_ACCESS_KEY_ID"], server.env["AWS_SECRET_ACCESS_KEY"])
    with ExitStack():
        yield wire_store(server.endpoint, server.bucket, keys), s3_url.rpartition("/")[2] + "/"


@pytest.mark.real
@pytest.mark.parametrize("moment", MOMENTS)
def test_every_verb_under_a_frozen_clock_on_a_real_server(real: Any, freezer: Any, moment: str) -> None:
    with freezer(moment):
        use(*real)


@pytest.mark.real
def test_every_verb_with_a_wrong_clock_on_a_real_server(real: Any, wrong: int) -> None:
    use(*real)


#: Freezes the clock before anything of this library is imported.
BEFORE = {
    "freezegun": "import freezegun; freezer = freezegun.freeze_time('2001-01-01'); freezer.start()",
    "time-machine": "import time_machine; t = time_machine.travel('2001-01-01 00:00+00:00', tick=False); t.start()",
}


@pytest.mark.parametrize("library", BEFORE)
def test_a_clock_that_was_frozen_before_the_first_import(library: str) -> None:
    script = """
from cloudcached import StoreTimeout
ask("a", "b")
try:
    store.get("silence", timeout=0.3)
except StoreTimeout:
    pass
else:
    raise AssertionError("answered")
ask("c")
"""

    def play(peer: Peer) -> None:
        if peer.number == 1:
            strict(peer)
        asked = peer.request()
        if asked is not None and asked.target.endswith("silence"):
            peer.stage.over.wait()
        elif asked is not None:
            peer.send(answered(asked, asked.target.encode()))
            strict(peer)

    def silent(peer: Peer) -> None:
        while asked := peer.request():
            if asked.target.endswith("silence"):
                peer.stage.over.wait()
            peer.send(answered(asked, asked.target.encode()))

    with Stage(strict) as stage:
        run("ask('a', 'b', 'c')", stage.endpoint, before=BEFORE[library])
        assert len(stage.asked) == 3 + (library == "time-machine")
    with Stage(silent) as stage:
        run(script, stage.endpoint, before=BEFORE[library])


@pytest.mark.real
@pytest.mark.parametrize("library", BEFORE)
def test_every_verb_under_a_clock_that_was_frozen_first(library: str, server: Any, s3_url: str) -> None:
    script = f"""
sys.path[:0] = {[path for path in __import__("sys").path if path.endswith("tests")]}
import importlib.util
from cloudcached.stores.wire.request import Keys
spec = importlib.util.spec_from_file_location("test_clocks", {__file__!r})
module = importlib.util.module_from_spec(spec)
spec.loader.exec_module(module)
module.OFFSET = {OFFSET!r}
keys = Keys({server.env["AWS_ACCESS_KEY_ID"]!r}, {server.env["AWS_SECRET_ACCESS_KEY"]!r})
module.use(wire_store(sys.argv[1], {server.bucket!r}, keys), {s3_url.rpartition("/")[2] + "/"!r})
"""
    run(script, server.endpoint, before=BEFORE[library])
