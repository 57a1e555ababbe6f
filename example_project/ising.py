"""The two-dimensional Ising model in NumPy: something that is worth computing once.

Spins of +1 and -1 on a square lattice with periodic boundaries, coupling J = 1, Boltzmann's constant 1; so temperatures
are in units of J / k and fields in units of J. Many lattices are updated at once, each with its own temperature and field:
one checkerboard Metropolis sweep of all of them is a few NumPy calls.

    exchange(...)     replica exchange over a ladder of temperatures: energy against magnetisation
    hysteresis(...)   magnetisation while the field is swept down and up again
    replica(...)      independent chains at one temperature, with error bars: the piece that machines share
    quench(...)       one lattice as it cools, picture by picture

There are also the exact solutions for the infinite lattice by Onsager and Yang, to compare the results with. Everything
is determined by its arguments: the same seed gives the same numbers.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

#: The temperature at which the infinite lattice loses its order: 2 / ln(1 + sqrt 2).
CRITICAL_TEMPERATURE = 2.0 / math.log(1.0 + math.sqrt(2.0))

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]


class Lattices:
    """Many square lattices, swept together.

    The sites of each colour of the checkerboard are in an array of their own, ``spins[colour, lattice, row, column // 2]``:
    all neighbours of one colour are of the other, so half a lattice can be updated in one step.
    """

    def __init__(self, count: int, side: int, seed: int) -> None:
        """Start *count* ordered lattices of *side* x *side* spins (an even number), all up."""
        if side < 4 or side % 2:  # noqa: PLR2004 below, two neighbours would be one site
            raise ValueError(f"side must be an even number of at least 4, not {side}")
        self.side = side
        self.sites = side * side
        self.spins: NDArray[np.int8] = np.ones((2, count, side, side // 2), dtype=np.int8)
        self._rng = np.random.Generator(np.random.SFC64(seed))

    def sweep(self, beta: Floats, field: Floats | float = 0.0) -> None:
        """Offer every spin one flip, at inverse temperature *beta* per lattice and in *field*."""
        count = self.spins.shape[1]
        twice_beta = np.broadcast_to(-2.0 * np.asarray(beta), count).astype(np.float32)[:, None, None]
        along = np.broadcast_to(np.asarray(field), count).astype(np.float32)[:, None, None]
        for colour in (0, 1):
            spins = self.spins[colour]
            # A flip costs 2 s (h + H). If it costs nothing, the weight is at least 1, above any random number.
            weight = np.exp(twice_beta * (spins * (self._neighbours(colour) + along)))
            flips = self._rng.random(spins.shape, dtype=np.float32) < weight
            spins *= 1 - 2 * flips.view(np.int8)

    def exchange(self, beta: Floats, pairing: int) -> float:
        """Offer to swap the lattices of neighbouring temperatures: pairs (0, 1), (2, 3) ... or (1, 2), (3, 4) ...

        Return the share of the offers that were accepted.
        """
        lower = np.arange(pairing % 2, len(beta) - 1, 2)
        energy = self.energy() * self.sites
        gain = (beta[lower] - beta[lower + 1]) * (energy[lower] - energy[lower + 1])
        taken = lower[np.log(self._rng.random(len(lower))) < gain]
        order = np.arange(len(beta))
        order[taken], order[taken + 1] = taken + 1, taken
        self.spins = self.spins[:, order]
        return len(taken) / max(1, len(lower))

    def energy(self) -> Floats:
        """Return the energy per spin of each lattice, without the field's share."""
        bonds: NDArray[np.int64] = np.einsum("nij,nij->n", self.spins[0], self._neighbours(0), dtype=np.int64)
        return -bonds / self.sites

    def magnetisation(self) -> Floats:
        """Return the magnetisation per spin of each lattice."""
        return np.asarray(self.spins.sum(axis=(0, 2, 3), dtype=np.int64) / self.sites)

    def picture(self, index: int) -> NDArray[np.bool_]:
        """Return which spins of one lattice point up, in rows and columns as on paper."""
        rows = np.arange(self.side)[:, None]
        columns = 2 * np.arange(self.side // 2)[None, :] + rows % 2
        up = np.empty((self.side, self.side), dtype=np.bool_)
        up[rows, columns] = self.spins[0, index] > 0
        up[rows, columns ^ 1] = self.spins[1, index] > 0
        return up

    def _neighbours(self, colour: int) -> NDArray[np.int8]:
        """Return the sum of the four neighbours of each site of *colour*."""
        other = self.spins[1 - colour]
        total: NDArray[np.int8] = other + np.roll(other, 1, axis=1)
        total += np.roll(other, -1, axis=1)
        # The fourth neighbour is on the left in rows where this colour comes first, on the right in the others.
        total[:, colour::2] += np.roll(other[:, colour::2], 1, axis=2)
        total[:, 1 - colour :: 2] += np.roll(other[:, 1 - colour :: 2], -1, axis=2)
        return total


@dataclass(frozen=True)
class Exchange:
    """The samples of ``exchange``; ``energies`` and ``magnetisations`` have a row for each temperature."""

    side: int
    temperatures: Floats
    energies: Floats
    magnetisations: Floats
    #: The share of the offered swaps that were accepted.
    accepted: float


def exchange(temperatures: Sequence[float], *, side: int = 32, sweeps: int = 2000, seed: int = 2009) -> Exchange:
    """Sample energy and magnetisation per spin by replica exchange (parallel tempering).

    After every second sweep, neighbouring temperatures may swap their lattices, which carries the cold ones over the
    barrier between up and down. The first fifth of the *sweeps* is discarded, and every second one of the rest is a sample.
    """
    ladder = np.asarray(temperatures, dtype=np.float64)
    beta = 1.0 / ladder
    lattices = Lattices(len(ladder), side, seed)
    lattices.spins[:, 1::2] = -1  # half of them down: the model does not prefer up
    energies, magnetisations, accepted = [], [], []
    for step in range(sweeps):
        lattices.sweep(beta)
        if step % 2:
            accepted.append(lattices.exchange(beta, step // 2))
            if step >= sweeps // 5:
                energies.append(lattices.energy())
                magnetisations.append(lattices.magnetisation())
    return Exchange(side, ladder, np.array(energies).T, np.array(magnetisations).T, float(np.mean(accepted)))


@dataclass(frozen=True)
class Loop:
    """Magnetisation at each of ``fields`` (which ascend) on the way down and on the way up."""

    temperature: float
    fields: Floats
    down: Floats
    up: Floats

    @property
    def area(self) -> float:
        """The area between the two branches: the work that one cycle of the field turns into heat."""
        gap = self.down - self.up
        return float(np.sum((gap[1:] + gap[:-1]) * np.diff(self.fields)) / 2.0)


def hysteresis(
    temperatures: Sequence[float],
    *,
    side: int = 64,
    strongest: float = 2.0,
    steps: int = 80,
    sweeps: int = 8,
    copies: int = 4,
    seed: int = 2009,
) -> list[Loop]:
    """Sweep the field from *strongest* to its opposite and back, in *steps* of *sweeps* sweeps each.

    Each temperature has *copies* lattices, whose magnetisations are averaged. As in reality, the loop depends on how
    fast the field is swept.
    """
    fields = np.linspace(-strongest, strongest, steps + 1)
    beta = np.repeat(1.0 / np.asarray(temperatures, dtype=np.float64), copies)
    lattices = Lattices(len(beta), side, seed)

    def follow(path: Floats) -> Floats:
        branch = np.empty((steps + 1, len(temperatures)))
        for i, field in enumerate(path):
            seen = np.zeros(len(beta))
            for _ in range(sweeps):
                lattices.sweep(beta, float(field))
                seen += lattices.magnetisation()
            branch[i] = (seen / sweeps).reshape(len(temperatures), copies).mean(axis=1)
        return branch

    down = follow(fields[::-1])[::-1]
    up = follow(fields)
    return [Loop(float(t), fields, down[:, i], up[:, i]) for i, t in enumerate(temperatures)]


@dataclass(frozen=True)
class Replica:
    """Averages at one temperature, each with the standard error over independent chains.

    Plain numbers and bytes only, so that an entry in the cache stays small and readable by any Python.
    """

    temperature: float
    side: int
    energy: float
    energy_error: float
    magnetisation: float
    magnetisation_error: float
    heat: float
    heat_error: float
    #: One of the lattices at the end: a bit for each spin, row by row, set if it points up.
    snapshot: bytes

    def picture(self) -> NDArray[np.bool_]:
        """Return the snapshot as rows and columns."""
        bits = np.unpackbits(np.frombuffer(self.snapshot, dtype=np.uint8), count=self.side * self.side)
        return bits.reshape(self.side, self.side).astype(np.bool_)


def replica(temperature: float, *, side: int = 32, chains: int = 16, sweeps: int = 1000, seed: int = 2009) -> Replica:
    """Run independent *chains* at one temperature: energy, magnetisation without its sign, heat capacity, per spin.

    The first third of the *sweeps* is thrown away. The chains start ordered, which is where they belong below the
    critical temperature; close to it they are not quite rid of that start.
    """
    beta = np.full(chains, 1.0 / temperature)
    lattices = Lattices(chains, side, seed + round(1000 * temperature))
    energies, magnetisations = [], []
    for step in range(sweeps):
        lattices.sweep(beta)
        if step >= sweeps // 3 and step % 2:
            energies.append(lattices.energy())
            magnetisations.append(np.abs(lattices.magnetisation()))
    energy = np.array(energies)
    heat = energy.var(axis=0) * side * side / temperature**2

    def average(of_chains: Floats) -> tuple[float, float]:
        return float(of_chains.mean()), float(of_chains.std(ddof=1) / math.sqrt(chains))

    return Replica(
        temperature,
        side,
        *average(energy.mean(axis=0)),
        *average(np.array(magnetisations).mean(axis=0)),
        *average(heat),
        np.packbits(lattices.picture(0)).tobytes(),
    )


def quench(temperature: float, *, side: int, times: Sequence[int], seed: int = 2009) -> list[Bools]:
    """Cool a lattice suddenly from infinite temperature; return it after each number of sweeps in *times* (ascending)."""
    lattices = Lattices(1, side, seed)
    rng = np.random.Generator(np.random.SFC64([seed, 1]))  # not the stream that drives the sweeps
    lattices.spins[:] = rng.choice(np.array([-1, 1], dtype=np.int8), lattices.spins.shape)
    beta, done, pictures = np.array([1.0 / temperature]), 0, []
    for time in times:
        for _ in range(time - done):
            lattices.sweep(beta)
        done = time
        pictures.append(lattices.picture(0))
    return pictures


def exact_energy(temperature: float) -> float:
    """Return the energy per spin of the infinite lattice (Onsager 1944)."""
    beta = 1.0 / temperature
    first, _ = _elliptic(2.0 * math.sinh(2.0 * beta) / math.cosh(2.0 * beta) ** 2)
    tanh2 = math.tanh(2.0 * beta) ** 2
    return -(1.0 + 2.0 / math.pi * (2.0 * tanh2 - 1.0) * first) / math.tanh(2.0 * beta)


def exact_heat(temperature: float) -> float:
    """Return the heat capacity per spin of the infinite lattice, which diverges at the critical temperature."""
    beta = 1.0 / temperature
    first, second = _elliptic(2.0 * math.sinh(2.0 * beta) / math.cosh(2.0 * beta) ** 2)
    tanh2 = math.tanh(2.0 * beta) ** 2
    inner = first - second - (1.0 - tanh2) * (math.pi / 2.0 + (2.0 * tanh2 - 1.0) * first)
    return 4.0 / math.pi * (beta / math.tanh(2.0 * beta)) ** 2 * inner


def exact_magnetisation(temperature: float) -> float:
    """Return the spontaneous magnetisation per spin of the infinite lattice (Yang 1952)."""
    if temperature >= CRITICAL_TEMPERATURE:
        return 0.0
    return float((1.0 - math.sinh(2.0 / temperature) ** -4) ** 0.125)


def _elliptic(modulus: float) -> tuple[float, float]:
    """Return the complete elliptic integrals K and E, by the arithmetic-geometric mean."""
    a, b = 1.0, math.sqrt(max(1e-30, 1.0 - modulus * modulus))
    total, weight = modulus * modulus / 2.0, 1.0
    while abs(a - b) > 1e-15 * a:
        a, b, c = (a + b) / 2.0, math.sqrt(a * b), (a - b) / 2.0
        total += weight * c * c
        weight *= 2.0
    first = math.pi / (2.0 * a)
    return first, first * (1.0 - total)
