"""A lattice that is cooled at once from endless heat, frame by frame: patches of one direction grow and merge.

Each frame is a PNG, and an entry of its own under a key.
"""

from __future__ import annotations

import io

import numpy as np
from PIL import Image

from . import conf, ising

SIDE, SWEEPS = 256, conf.sweeps(800)
#: After which sweeps a frame is taken: patches grow with the root of time, so later ones lie further apart.
TIMES = [0, *np.unique(np.geomspace(1, SWEEPS, 44).round().astype(int)).tolist()]
#: What it is cooled to, by the name in the address of the page.
TEMPERATURES = {"cold": 1.0, "critical": round(ising.CRITICAL_TEMPERATURE, 4), "hot": 3.0}


def key(state: str, time: int) -> str:
    """Return the key of a frame: all that it depends on."""
    return f"quench:{SIDE}x{SIDE}:T={TEMPERATURES[state]}:{time}"


def compute(state: str) -> dict[str, bytes]:
    """Return all frames by their keys."""
    pictures = ising.quench(TEMPERATURES[state], side=SIDE, times=TIMES)
    return {key(state, time): png(up) for time, up in zip(TIMES, pictures, strict=True)}


def png(up: ising.Bools) -> bytes:
    """Return a picture with a pixel for each spin: up is coloured, down is clear, and shows the paper of the page."""
    image = Image.fromarray(up.astype(np.uint8)).convert("P")
    image.putpalette([0, 0, 0, 77, 110, 232])
    out = io.BytesIO()
    image.save(out, "PNG", bits=1, transparency=0, optimize=True)
    return out.getvalue()
