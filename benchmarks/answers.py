"""What the FAQ shows of the other sections' figures: what a ``get`` takes by where it is answered."""

from __future__ import annotations

from typing import Any, Final

from .common import duration, markdown, told_of

#: What is asked, in the words of ``compare``, and in those of the page.
ANSWERED_BY: Final = {
    "CloudCached, near": "the process's memory (near tier)",
    "memcached, Django": "memcached, by Django",
    "redis, Django": "Redis, by Django",
    "file, Django": "a file, by Django",
    "database (SQLite), Django": "SQLite, by Django",
    "CloudCached, Django": "S3 next door, by Django",
    "raw HTTP": "the same request by raw HTTP, unsigned",
    "boto3": "the same by boto3",
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
        ("by `get_many`", f"{afar['get_many_s']:.1f} s"),
    ]
    latency = f"{bulk['latency_ms']:.0f} ms"
    return "\n".join(
        [
            told_of(compare),
            "",
            markdown(("median of a `get` answered by", "32 B", "512 KB"), rows),
            "",
            markdown((f"{bulk['entries']:,} entries, {latency} away", "take"), many),
        ]
    )
