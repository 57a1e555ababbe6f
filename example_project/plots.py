"""The pictures, as SVG text that needs only a browser.

Each picture has its own style sheet: it follows the reader's light or dark mode, and enlarges its text on phones, where
the whole drawing shrinks.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from html import escape

import numpy as np
from numpy.typing import NDArray

from . import ising

Points = Iterable[tuple[float, float]]

#: From cold to hot; each stands out from white and from black.
RAMP = ((43, 108, 238), (124, 82, 226), (205, 64, 158), (238, 92, 64), (240, 160, 32))

STYLE = """
.plot{--ink:#1b2330;--soft:#566072;--grid:#e4e8ef;display:block;width:100%;height:auto;overflow:visible;
font:16px system-ui,-apple-system,"Segoe UI",Roboto,"Helvetica Neue",sans-serif}
@media(prefers-color-scheme:dark){.plot{--ink:#e8ecf4;--soft:#9ba6b9;--grid:#2a3342}}
.plot text{fill:var(--soft)}.plot .name{fill:var(--ink)}.plot .m{text-anchor:middle}.plot .e{text-anchor:end}
.plot .grid{stroke:var(--grid);fill:none}.plot .axis{stroke:var(--soft);fill:none}
.plot .line{fill:none;stroke-width:2.5;stroke-linejoin:round;stroke-linecap:round}
.plot .exact{stroke:var(--ink);stroke-width:2;stroke-dasharray:6 5}
.plot .dots{fill:none;stroke-linecap:round}
@media(max-width:640px){.plot{font-size:18px;margin-bottom:8px}.plot.wide{font-size:25px;margin-bottom:14px}}
"""


@dataclass(frozen=True)
class Axis:
    """One axis: its name, its range and the distance between its ticks."""

    name: str
    low: float
    high: float
    tick: float

    def ticks(self) -> list[float]:
        """Return the values of the ticks."""
        first = math.ceil(self.low / self.tick - 1e-9)
        return [i * self.tick for i in range(first, math.floor(self.high / self.tick + 1e-9) + 1)]

    def label(self, value: float) -> str:
        """Return the label of a tick, with a real minus sign."""
        digits = max(0, -math.floor(math.log10(self.tick) + 1e-9))
        return f"{value:.{digits}f}".replace("-", "\N{MINUS SIGN}")


class Plot:
    """A frame with two axes; lines and dots are drawn into it in the order of the calls."""

    def __init__(self, x: Axis, y: Axis, description: str, *, wide: bool = True) -> None:
        self.x, self.y, self.description, self.wide = x, y, description, wide
        self.width, self.height = (720, 516) if wide else (480, 360)
        self.left, self.top, right, bottom = (108, 52, 30, 60) if wide else (88, 42, 20, 54)
        self.inner_width, self.inner_height = self.width - self.left - right, self.height - self.top - bottom
        self.inside: list[str] = []  # clipped at the frame
        self.outside: list[str] = []

    def at(self, x: float, y: float) -> tuple[float, float]:
        """Return the position of a point inside the frame, in units of the drawing."""
        return (
            round((x - self.x.low) / (self.x.high - self.x.low) * self.inner_width, 1),
            round((self.y.high - y) / (self.y.high - self.y.low) * self.inner_height, 1),
        )

    def line(self, points: Points, colour: str = "", style: str = "") -> None:
        """Draw a line through *points*, in a colour or in a style of the style sheet."""
        path = "L".join("{:g} {:g}".format(*self.at(x, y)) for x, y in points)
        stroke = f' stroke="{colour}"' if colour else ""
        self.inside.append(f'<path class="line {style}"{stroke} d="M{path}"/>')

    def area(self, points: Points, colour: str) -> None:
        """Tint the area that *points* enclose."""
        path = "L".join("{:g} {:g}".format(*self.at(x, y)) for x, y in points)
        self.inside.append(f'<path fill="{colour}" fill-opacity=".12" d="M{path}z"/>')

    def dots(self, points: Points, colour: str, size: float, opacity: float = 1.0) -> None:
        """Draw all *points* as one path: zero-length lines with round ends, a few bytes each."""
        path = "".join("M{:g} {:g}h0".format(*self.at(x, y)) for x, y in points)
        self.inside.append(
            f'<path class="dots" stroke="{colour}" stroke-width="{size:g}" stroke-opacity="{opacity:g}" d="{path}"/>'
        )

    def bar(self, x: float, y: float, error: float, colour: str) -> None:
        """Draw one measured point with its error bar."""
        (px, high), (_, low) = self.at(x, y + error), self.at(x, y - error)
        self.inside.append(
            f'<path stroke="{colour}" stroke-width="2" d="M{px:g} {high:g}V{low:g}m-4 0h8m-8 {high - low:g}h8"/>'
        )
        self.dots([(x, y)], colour, 9)

    def arrow(self, x: float, y: float, colour: str, *, downwards: bool) -> None:
        """Draw an arrowhead on a steep line."""
        (px, py), way = self.at(x, y), 9 if downwards else -9
        self.inside.append(f'<path fill="{colour}" d="M{px - 8:g} {py - way:g}h16l-8 {2 * way}z"/>')

    def legend(self, entries: Sequence[tuple[str, str]]) -> None:
        """Write the legend in a row above the frame; an empty colour stands for the dashed line."""
        step = self.inner_width / len(entries)
        for i, (colour, name) in enumerate(entries):
            x, y = self.left + i * step, self.top - 22
            look = f'stroke="{colour}"' if colour else ""
            self.outside.append(
                f'<path class="line {"" if colour else "exact"}" {look} d="M{x:g} {y}h26"/>'
                f'<text class="name" x="{x + 34:g}" y="{y}" dy=".35em">{escape(name)}</text>'
            )

    def svg(self) -> str:
        """Return the finished picture."""
        right, bottom = self.left + self.inner_width, self.top + self.inner_height
        grid, labels = [], []
        for value in self.x.ticks():
            px = self.left + self.at(value, self.y.low)[0]
            grid.append(f"M{px:g} {self.top}V{bottom}")
            labels.append(f'<text class="m" x="{px:g}" y="{bottom}" dy="1.5em">{self.x.label(value)}</text>')
        for value in self.y.ticks():
            py = self.top + self.at(self.x.low, value)[1]
            grid.append(f"M{self.left} {py:g}H{right}")
            labels.append(f'<text class="e" x="{self.left - 10}" y="{py:g}" dy=".35em">{self.y.label(value)}</text>')
        names = (
            f'<text class="name m" x="{(self.left + right) / 2:g}" y="{bottom}" dy="3em">{escape(self.x.name)}</text>'
            f'<text class="name m" transform="translate({self.left} {(self.top + bottom) / 2:g})rotate(-90)" dy="-3.4em">'
            f"{escape(self.y.name)}</text>"
        )
        frame = f'<svg x="{self.left}" y="{self.top}" width="{self.inner_width}" height="{self.inner_height}">'
        return _picture(
            self.width,
            self.height,
            self.description,
            f'<path class="grid" d="{"".join(grid)}"/>{frame}{"".join(self.inside)}</svg>'
            f'<path class="axis" d="M{self.left} {self.top}V{bottom}H{right}"/>'
            f"{''.join(labels)}{names}{''.join(self.outside)}",
            wide=self.wide,
        )


def energy_against_magnetisation(result: ising.Exchange) -> str:
    """Draw each sample as a dot coloured by its temperature, and the exact infinite lattice as a dashed line."""
    cold, hot = float(result.temperatures[0]), float(result.temperatures[-1])
    plot = Plot(
        Axis("magnetisation per spin", -1.05, 1.05, 0.5),
        Axis("energy per spin", -2.05, -0.35, 0.5),
        "Energy per spin against magnetisation per spin: one cloud at high temperature, two branches at low temperature",
    )
    for t, energies, magnetisations in zip(result.temperatures, result.energies, result.magnetisations, strict=True):
        every = max(1, len(energies) // 160)
        plot.dots(
            zip(magnetisations[::every], energies[::every], strict=True), ramp((t - cold) / (hot - cold)), 5.5, 0.5
        )
    ordered = [
        (ising.exact_magnetisation(t), ising.exact_energy(t))
        for t in ising.CRITICAL_TEMPERATURE - np.linspace(0.0, 1.0, 120) ** 3 * (ising.CRITICAL_TEMPERATURE - cold)
    ]
    plot.line(((m, e) for m, e in ordered), style="exact")
    plot.line(((-m, e) for m, e in ordered), style="exact")
    plot.line([(0.0, ising.exact_energy(ising.CRITICAL_TEMPERATURE)), (0.0, ising.exact_energy(hot))], style="exact")
    plot.legend([("", f"infinite lattice, exact; dots: {result.side} \N{MULTIPLICATION SIGN} {result.side} spins")])
    _scale(plot, cold, hot)
    return plot.svg()


def _scale(plot: Plot, cold: float, hot: float) -> None:
    """Draw the colour scale at the bottom of the plot, where the two branches leave room."""
    width, height = 280, 14
    x, y = plot.left + (plot.inner_width - width) / 2, plot.top + plot.inner_height - 62
    stops = "".join(f'<stop offset="{i / 4:g}" stop-color="{ramp(i / 4)}"/>' for i in range(5))
    plot.outside.append(
        f'<linearGradient id="ramp">{stops}</linearGradient>'
        f'<rect x="{x:g}" y="{y:g}" width="{width}" height="{height}" rx="3" fill="url(#ramp)"/>'
    )
    for t, name in ((cold, f"{cold:g}"), (ising.CRITICAL_TEMPERATURE, "critical"), (hot, f"{hot:g}")):
        px = x + (t - cold) / (hot - cold) * width
        plot.outside.append(
            f'<path class="axis" d="M{px:g} {y + height}v5"/><text class="m" x="{px:g}" y="{y + 42:g}">{name}</text>'
        )
    plot.outside.append(f'<text class="name m" x="{x + width / 2:g}" y="{y - 12:g}">temperature</text>')


def hysteresis_loops(loops: Sequence[ising.Loop]) -> str:
    """Draw the loops, with arrows in the direction of the field."""
    strongest = float(loops[0].fields[-1])
    plot = Plot(
        Axis("magnetic field", -strongest, strongest, strongest / 2),
        Axis("magnetisation per spin", -1.1, 1.1, 0.5),
        "Magnetisation against field, swept down and up: wide loops below the critical temperature, none above",
    )
    colours = [ramp(i / max(1, len(loops) - 1)) for i in range(len(loops))]
    for loop, colour in zip(loops, colours, strict=True):
        plot.area(
            [*zip(loop.fields, loop.down, strict=True), *zip(loop.fields[::-1], loop.up[::-1], strict=True)], colour
        )
    for loop, colour in zip(loops, colours, strict=True):
        plot.line(zip(loop.fields, loop.down, strict=True), colour)
        plot.line(zip(loop.fields, loop.up, strict=True), colour)
        if loop.area > strongest / 10:
            plot.arrow(*_crossing(loop.fields, loop.down), colour, downwards=True)
            plot.arrow(*_crossing(loop.fields, loop.up), colour, downwards=False)
    plot.legend([(colour, f"T = {loop.temperature:g}") for loop, colour in zip(loops, colours, strict=True)])
    return plot.svg()


def _crossing(fields: ising.Floats, branch: ising.Floats) -> tuple[float, float]:
    """Return the point at which a rising branch crosses zero."""
    after = min(max(1, int(np.argmax(branch > 0.0))), len(branch) - 1)
    low, high = float(branch[after - 1]), float(branch[after])
    share = -low / (high - low) if high > low else 0.5
    return float(fields[after - 1] + share * (fields[after] - fields[after - 1])), 0.0


def thermodynamics(replicas: Sequence[ising.Replica]) -> list[str]:
    """Draw energy, magnetisation and heat capacity against temperature, with the exact curves, and some lattices."""
    curves: list[tuple[Axis, Callable[[ising.Replica], tuple[float, float]], Callable[[float], float]]] = [
        (Axis("energy per spin", -2.1, -0.6, 0.5), lambda r: (r.energy, r.energy_error), ising.exact_energy),
        (
            Axis("|magnetisation| per spin", 0.0, 1.05, 0.2),
            lambda r: (r.magnetisation, r.magnetisation_error),
            ising.exact_magnetisation,
        ),
        (Axis("heat capacity per spin", 0.0, 3.0, 1.0), lambda r: (r.heat, r.heat_error), ising.exact_heat),
    ]
    cold, hot = replicas[0].temperature, replicas[-1].temperature
    grid = np.linspace(-1.0, 1.0, 161)
    near = ising.CRITICAL_TEMPERATURE + np.sign(grid) * np.abs(grid) ** 3 * 1.5
    pictures = []
    for axis, measured, exact in curves:
        plot = Plot(
            Axis("temperature", cold - 0.1, hot + 0.1, 0.5), axis, f"{axis.name} against temperature", wide=False
        )
        plot.line(((t, exact(t)) for t in near if cold - 0.1 <= t <= hot + 0.1), style="exact")
        for r in replicas:
            plot.bar(r.temperature, *measured(r), ramp((r.temperature - cold) / (hot - cold)))
        plot.legend([("", "infinite lattice, exact")])
        pictures.append(plot.svg())
    return [*pictures, _snapshots(replicas)]


def _snapshots(replicas: Sequence[ising.Replica]) -> str:
    """Draw six of the lattices as they were at the end of their runs."""
    parts = []
    for i, share in enumerate((0.0, 0.25, 0.375, 0.5, 0.75, 1.0)):
        r = replicas[round(share * (len(replicas) - 1))]
        x, y = 20 + 154 * (i % 3), 8 + 178 * (i // 3)
        parts.append(
            f'<svg x="{x}" y="{y}" width="132" height="132" viewBox="0 0 {r.side} {r.side}" shape-rendering="crispEdges">'
            f'<path stroke="{ramp(share)}" d="{_runs(r.picture())}"/></svg><rect class="grid" x="{x}" y="{y}" width="132" height="132"/>'
            f'<text class="m" x="{x + 66}" y="{y + 156}">T = {r.temperature:.2f}</text>'
        )
    return _picture(480, 360, "Six lattices, from cold to hot: order, patches, noise", "".join(parts), wide=False)


def _runs(up: NDArray[np.bool_]) -> str:
    """Return the path that draws each run of set cells in each row as one horizontal line of width 1."""
    path = []
    for row, cells in enumerate(up):
        edges = np.flatnonzero(np.diff(cells, prepend=False, append=False))
        path += [f"M{start} {row}.5h{end - start}" for start, end in zip(edges[::2], edges[1::2], strict=True)]
    return "".join(path)


def _picture(width: int, height: int, description: str, body: str, *, wide: bool) -> str:
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" class="plot{" wide" if wide else ""}" viewBox="0 0 {width} {height}" '
        f'role="img" aria-label="{escape(description)}"><style>{STYLE}</style>{body}</svg>'
    )


def ramp(share: float) -> str:
    """Return the colour at *share* of the way from cold (0) to hot (1)."""
    place = min(1.0, max(0.0, float(share))) * (len(RAMP) - 1)
    first = min(int(place), len(RAMP) - 2)
    mixed = (a + (b - a) * (place - first) for a, b in zip(RAMP[first], RAMP[first + 1], strict=True))
    return "#" + "".join(f"{round(channel):02x}" for channel in mixed)
