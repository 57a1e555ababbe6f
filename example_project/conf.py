"""What the Django site and the Flask app read from the environment; both need the same values.

CLOUDCACHED_URL   the cache: s3://bucket/prefix, or memory://name for one process (the default)
SECRET_KEY        the key that signs the entries; required if the cache is in a bucket
ISING_EFFORT      1 is the full computation; 0.05 is quick and noisy, for tests
DJANGO_ADDRESS    the URL of the Django site, and
FLASK_ADDRESS     the URL of the Flask app, for the links between the two
PLUG_ADDRESS      the URL that switches the plug of the demo's own S3 server (plug.py); not set for any other bucket
WORKER            the name of this process among those that serve the site
"""

from __future__ import annotations

import os

CLOUDCACHED_URL = os.environ.get("CLOUDCACHED_URL") or "memory://example"
ISING_EFFORT = float(os.environ.get("ISING_EFFORT") or 1)
DJANGO_ADDRESS = os.environ.get("DJANGO_ADDRESS", "")
FLASK_ADDRESS = os.environ.get("FLASK_ADDRESS", "")
PLUG_ADDRESS = os.environ.get("PLUG_ADDRESS", "")
WORKER = os.environ.get("WORKER") or str(os.getpid())

SECRET_KEY = os.environ.get("SECRET_KEY", "")
if not SECRET_KEY and CLOUDCACHED_URL.startswith("memory://"):
    SECRET_KEY = "nobody else can write into this process"  # noqa: S105
if not SECRET_KEY:
    # No default for a bucket: a key that everybody can read protects nothing.
    raise SystemExit("SECRET_KEY is not set: the entries in a bucket are signed with it")

#: How long results are kept, in seconds.
KEEP = 24 * 3600


def sweeps(full: int) -> int:
    """Return the number of sweeps to do instead of *full*, by ``ISING_EFFORT``."""
    return max(2, round(full * ISING_EFFORT))
