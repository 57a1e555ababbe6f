"""CloudCached: a cache whose entries live in S3.

>>> from cloudcached import Client
>>> cache = Client("memory://")        # or "s3://bucket/prefix"
>>> cache.put("answer", 42, time_to_expire=60)
True
>>> cache.get("answer")
42
"""

from __future__ import annotations

from . import errors as _errors
from ._types import MISSING
from .client import Client
from .coordination.locks import Lock
from .coordination.memoize import Memoized
from .engine.snapshot import _token  # noqa: F401 - where the tokens of gets are unpickled
from .entry.format import EntryInfo
from .errors import *  # noqa: F403 - the tree is public as a whole

__version__ = "0.1.0"

__all__ = ["MISSING", "Client", "EntryInfo", "Lock", "Memoized"]
__all__ += _errors.__all__
__all__.sort()
