"""Maintenance of a bucket: purge, lifecycle rules, IAM policies, a survey of its contents, and a benchmark."""

from __future__ import annotations
