"""Output of the commands: tables for people, plain text for pipes, JSON for programs."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import click


def show_json(data: Any) -> None:
    """Print *data* as JSON."""
    click.echo(json.dumps(data, indent=2, ensure_ascii=False))


def say(text: str) -> None:
    """Print *text* if standard output is a terminal."""
    if sys.stdout.isatty():
        click.echo(text)


def show_table(
    columns: Sequence[str], rows: Iterable[Sequence[str]], *, title: str = "", styles: Mapping[str, str] | None = None
) -> None:
    """Print a table: with lines and colours on a terminal, in aligned columns otherwise.

    styles: the colours of first cells, by their text.
    """
    cells = [[printable(cell) for cell in row] for row in rows]
    if not sys.stdout.isatty():
        _show_plain(columns, cells, title)
        return
    from rich.console import Console  # noqa: PLC0415 - only a terminal needs it
    from rich.table import Table  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    table = Table(title=title or None, title_justify="left", title_style="bold")
    for column in columns:
        table.add_column(column)
    for row in cells:
        first = Text(row[0], style=(styles or {}).get(row[0], ""))
        table.add_row(first, *(Text(cell) for cell in row[1:]))
    Console().print(table)


def _show_plain(columns: Sequence[str], rows: list[list[str]], title: str) -> None:
    widths = [max(map(len, column)) for column in zip(columns, *rows, strict=True)]
    if title:
        click.echo(title)
    for row in (columns, *rows):
        click.echo("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def printable(text: str) -> str:
    """Return *text* with backslash escapes for characters that a terminal would not show, or would obey."""
    return text if text.isprintable() else "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)


@contextmanager
def busy(text: str) -> Iterator[None]:
    """Show *text* and a spinner while something takes long, if standard error is a terminal."""
    if not sys.stderr.isatty():
        yield
        return
    from rich.console import Console  # noqa: PLC0415

    with Console(stderr=True).status(text):
        yield


@contextmanager
def advancing(text: str) -> Iterator[Callable[[float, str], None]]:
    """Yield a function that shows progress, from 0 to 1, and a word about it, if standard error is a terminal."""
    if not sys.stderr.isatty():
        yield lambda _part, _word: None
        return
    from rich.console import Console  # noqa: PLC0415
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn  # noqa: PLC0415

    columns = (TextColumn(text), BarColumn(), TextColumn("{task.fields[word]}"), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(text, total=1.0, word="")
        yield lambda part, word: bar.update(task, completed=part, word=word)


@contextmanager
def counting(text: str, what: str) -> Iterator[Callable[[int], None]]:
    """Yield a function that shows a count so far, if standard error is a terminal."""
    if not sys.stderr.isatty():
        yield lambda _: None
        return
    from rich.console import Console  # noqa: PLC0415

    with Console(stderr=True).status(text) as status:
        yield lambda count: status.update(f"{count:,} {what}...")
