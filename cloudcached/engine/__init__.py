"""Entries on a store: one, and many."""

from __future__ import annotations
