"""Entries on a store: read, written, listed and removed, singly and in bulk."""

from __future__ import annotations
