"""A ``KEY_FUNCTION`` and its opposite, to be named by path in settings."""

from __future__ import annotations


def reversible(key: str, prefix: str, version: int) -> str:
    return f"{version}/{prefix}/{key[::-1]}"


def reverse(name: str) -> str:
    return name.split("/", 2)[2][::-1]
