"""The whole port, by boto3."""

from __future__ import annotations
