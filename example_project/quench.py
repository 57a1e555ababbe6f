"""A lattice cooled suddenly from infinite temperature, frame by frame: patches of one direction grow and merge.

Each frame is a PNG, and an entry under a key of its own.
"""

from __future__ import annotations

import io

import numpy as np
from PIL import Image

from . import conf, ising

SIDE, SWEEPS = 256, conf.sweeps(800)
#: The sweeps after which a frame is taken: patches grow with the square root of time, so later frames are further apart.
TIMES = [0, *np.unique(np.geomspace(1, SWEEPS, 44).round().astype(int)).tolist()]
#: The temperature it is cooled to, by the name in the page's URL.
TEMPERATURES = {"cold": 1.0, "critical": round(ising.CRITICAL_TEMPERATURE, 4), "hot": 3.0}


def key(state: str, time: int) -> str:
    """Return the key of a frame: everything that it depends on."""
    return f"quench:{SIDE}x{SIDE}:T={TEMPERATURES[state]}:{time}"


def compute(state: str) -> dict[str, bytes]:
    """Return all frames, by key."""
    pictures = ising.quench(TEMPERATURES[state], side=SIDE, times=TIMES)
    return {key(state, time): png(up) for time, up in zip(TIMES, pictures, strict=True)}


def png(up: ising.Bools) -> bytes:
    """Return a picture with a pixel for each spin: up is coloured, down is transparent and shows the page behind it."""
    image = Image.fromarray(up.astype(np.uint8)).convert("P")
    image.putpalette([0, 0, 0, 77, 110, 232])
    out = io.BytesIO()
    image.save(out, "PNG", bits=1, transparency=0, optimize=True)
    return out.getvalue()
