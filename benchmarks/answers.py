"""The figures in the FAQ, taken from other sections: the time of a ``get`` by where its answer comes from."""

from __future__ import annotations

from typing import Any, Final

from .common import duration, markdown, setup_of

#: The subjects of ``compare`` to show, and their names on the page.
ANSWERED_BY: Final = {
    "CloudCached, near": "the process's memory (near tier)",
    "memcached, Django": "memcached, through Django",
    "redis, Django": "Redis, through Django",
    "file, Django": "a file, through Django",
    "database (SQLite), Django": "SQLite, through Django",
    "CloudCached, Django": "S3, through Django",
    "raw HTTP": "S3, by raw HTTP signed beforehand",
    "boto3": "S3, by boto3",
}


def text(compare: dict[str, Any], bulk: dict[str, Any]) -> str:
    """Return the figures as Markdown."""
    small, large = compare["sizes"]["32"]["get"], compare["sizes"]["524288"]["get"]
    rows = [
        (name, duration(small[which]["p50_ms"]), duration(large[which]["p50_ms"]))
        for which, name in ANSWERED_BY.items()
    ]
    afar = bulk["from_afar"]
    many = [
        ("one by one", f"{afar['one_by_one_s']:.1f} s"),
        ("with `get_many`", f"{afar['get_many_s']:.1f} s"),
    ]
    latency = f"{bulk['latency_ms']:.0f} ms"
    return "\n".join(
        [
            setup_of(compare),
            "",
            markdown(("median of a `get` answered by", "32 B", "512 KB"), rows),
            "",
            markdown((f"{bulk['entries']:,} entries, with {latency} of latency", "time"), many),
        ]
    )
