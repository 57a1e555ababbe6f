"""Write ``data/golden_v2.json``: an entry of every kind.

Until the first release, which makes format 2 final, all of it is written again after each change of the bytes. From then
on what is in it stays, since ``entry/test_format.py`` shows that every later version reads it: let this add what is
missing. Run it after a new type, encoding or option came to the format, and commit what it wrote::

    python tests/support/make_golden.py
"""

from __future__ import annotations

import base64
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[2]))

from samples import BASE, HARMLESS, SIGNED_ONLY

from cloudcached import Client
from cloudcached.testing import FakeClock

GOLDEN = Path(__file__).parents[1] / "data" / "golden_v2.json"
SAMPLES = {**BASE, **HARMLESS, **SIGNED_ONLY}

UNSIGNED: dict[str, Any] = {"compress_min_bytes": 1024}
SIGNED: dict[str, Any] = {"signing_key": "the golden key"}
ENCRYPTED: dict[str, Any] = {"signing_key": "the golden key", "encryption_key": "the golden cipher"}
#: What is not about the value: a name, and the verbs that write the entry.
STORIES: dict[str, list[list[Any]]] = {
    "never expires": [["put", "k", "str", None]],
    "expired": [["put", "k", "str", 0.5]],
    "conditional writes": [["put", "k", "zero", 60], ["incr", "k"], ["decr", "k"], ["touch", "k", 90]],
    "a chain of more than 32": [["put", "k", "zero", 60], *[["incr", "k"], ["decr", "k"]] * 20],
    "stale and early": [["fill", "k", "str", 60]],
    "escaped key": [["put", "~a/é \ud800%", "str", 60]],
    "empty key": [["put", "", "str", 60]],
    "hashed name": [["put", "k" * 2_000 + "Ω", "str", 60]],
    "hashed name, compressed": [["put", "k" * 2_000, "long str", 60]],
}


def kinds() -> Iterator[tuple[str, dict[str, Any], list[list[Any]]]]:
    """Yield a name, the options and the verbs of every entry."""
    for options, name, samples in (
        (UNSIGNED, "unsigned", {**BASE, **HARMLESS}),
        (SIGNED, "signed", {**BASE, **SIGNED_ONLY}),
        (ENCRYPTED, "encrypted", dict.fromkeys(("str", "None", "long str", "nested", "instance"))),
    ):
        for sample in samples:
            yield f"{name}: {sample}", options, [["put", "k", sample, 60]]
        for story, verbs in STORIES.items():
            yield f"{name}: {story}", options, verbs


def entry(options: dict[str, Any], verbs: list[list[Any]]) -> dict[str, Any]:
    """Return what the verbs leave in the bucket, and what is to be read from it."""
    clock = FakeClock()
    client = Client("memory:///golden/prefix", clock=clock, **options)
    for verb, *arguments in verbs:
        if verb in ("put", "fill"):
            arguments[1] = SAMPLES[arguments[1]]
        if verb == "fill":
            fill(client, clock, *arguments)
        else:
            assert getattr(client, verb)(*arguments) is not False
    key, sample = verbs[0][1], verbs[0][2]
    store = client.engine.store
    (row,), _ = store.list("golden/prefix/", timeout=1)
    found = store.get(row.object_key, timeout=1)
    return {
        "options": options,
        "time": clock.time(),
        "key": key,
        "sample": sample,
        "ttl": client.ttl(key),
        "object_key": row.object_key,
        "metadata": dict(found.head.metadata),
        "body": base64.b64encode(found.read()).decode("ascii"),
    }


def fill(client: Client, clock: FakeClock, key: str, value: Any, seconds: float) -> None:
    """Compute *value* in 1.5 seconds."""

    def compute() -> Any:
        clock.advance(1.5)
        return value

    client.get_or_put(key, compute, seconds, early=1, stale=30)


def main() -> None:
    """Write all of it."""
    golden = {name: entry(options, verbs) for name, options, verbs in kinds()}
    GOLDEN.write_text(json.dumps(golden, indent=1) + "\n", "ascii")


if __name__ == "__main__":
    main()
