"""The commands that work on entries: get, put, rm, ls, ttl, touch, info and clear."""

from __future__ import annotations

import datetime as dt
import json
import re
import sys
from base64 import b64encode
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, Final

import click

from .._types import MISSING
from ..entry.format import EntryInfo
from ..runtime.pool import fan_out
from .output import advancing, counting, printable, say, show_json, show_table
from .target import CacheCommand, Failure, Interrupted, Target, as_json_option, yes_option

_DURATION: Final = re.compile(r"(\d+(?:\.\d+)?)([smhd]?)")
_SECONDS: Final = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400}
#: A question names up to this many keys, and counts more than these.
_NAMED: Final = 5
#: The first of these ends the literal beginning of a glob pattern.
_WILD: Final = re.compile(r"[*?\[]")


class Missing(Failure):
    """The answer is no."""

    exit_code = 1


def _expiry(text: str) -> float | None:
    if text == "never":
        return None
    found = _DURATION.fullmatch(text)
    if found is None:
        raise click.BadParameter(f"{text!r} is not a time; use seconds, 15m, 12h, 30d or never")
    return float(found[1]) * _SECONDS[found[2]]


_expire = click.option(
    "--expire",
    type=_expiry,
    default="1h",
    show_default=True,
    metavar="TIME",
    help="Time until it expires: seconds, 15m, 12h, 30d or never.",
)
_dry_run = click.option("--dry-run", is_flag=True, help="Print what would be removed, and remove nothing.")


def _no_entry(key: str) -> Missing:
    return Missing(f"there is no live entry under {printable(key)!r}")


@click.command(cls=CacheCommand)
@click.argument("key")
@click.option(
    "--file", "file", type=click.Path(dir_okay=False), help="Write the value's bytes to this file; works for any size."
)
@as_json_option
@click.pass_obj
def get(target: Target, /, *, key: str, file: str | None, as_json: bool) -> None:
    """Print the value of KEY, or write it to a file.

    A newline is added to text; to a pipe, bytes are written unchanged. Exit code 1: there is no live entry.
    """
    if file is not None:
        if as_json:
            raise Failure("get takes --file or --json")
        _get_file(target, key, file)
        return
    client = target.client()
    value = client.get(key, MISSING)
    if value is MISSING:
        found = client.info(key)
        if found is not None and found.size > target.checked().max_value_bytes:
            raise Failure(f"{printable(key)!r} has {found.size:,} bytes; use --file to write it to a file")
        raise _no_entry(key)
    if as_json:
        show_json({"key": key, "type": type(value).__name__, **_plain(value)})
    elif isinstance(value, bytes) and not sys.stdout.isatty():
        click.echo(value, nl=False)
    elif isinstance(value, str):
        click.echo(value.encode("utf-8", "surrogatepass"))
    else:
        click.echo(repr(value))


def _get_file(target: Target, key: str, file: str) -> None:
    with _moving("Reading...") as progress:
        try:
            found = target.client().get_file(key, file, progress=progress)
        except OSError as error:
            raise Failure(f"{file} cannot be written: {error.strerror or error}") from error
    if not found:
        raise _no_entry(key)
    say("written")


@contextmanager
def _moving(text: str) -> Iterator[Callable[[int, int | None], None]]:
    """Yield a function that shows how many bytes have been transferred, if anybody is watching."""
    with advancing(text) as show:

        def progress(done: int, total: int | None) -> None:
            show(done / total if total else 0.0, f"{done:,} of {total:,} bytes" if total else f"{done:,} bytes")

        yield progress


def _plain(value: Any) -> dict[str, Any]:
    """Return *value* in a form that JSON can hold, and the name of that form."""
    if isinstance(value, bytes):
        return {"form": "base64", "value": b64encode(value).decode()}
    try:
        same = json.loads(json.dumps(value, allow_nan=False)) == value
    except (TypeError, ValueError):
        same = False
    return {"form": "json", "value": value} if same else {"form": "repr", "value": repr(value)}


_MAKE: Final[dict[str, Callable[[bytes], Any]]] = {
    "str": lambda data: data.decode("utf-8"),
    "bytes": lambda data: data,
    "int": int,
    "float": float,
    "json": json.loads,
}


@click.command(cls=CacheCommand)
@click.argument("key")
@click.argument("value", required=False)
@click.option(
    "--file", "file", type=click.Path(dir_okay=False, allow_dash=True), help="Store the file's bytes; - is stdin."
)
@click.option(
    "--type", "kind", type=click.Choice(tuple(_MAKE)), help="Type to store.  [default: str, or bytes with --file]"
)
@_expire
@click.option("--replace", is_flag=True, help="Overwrite a live entry, if there is one.")
@click.pass_obj
def put(
    target: Target,
    /,
    *,
    key: str,
    value: str | None,
    file: str | None,
    kind: str | None,
    expire: float | None,
    replace: bool,
) -> None:
    """Store VALUE, or the contents of a file, under KEY.

    Exit code 1: there is a live entry already, and --replace was not given.
    """
    if (value is None) == (file is None):
        raise Failure("put takes a VALUE or a --file (- for standard input)")
    client = target.client()
    if file is not None and kind in (None, "bytes"):
        with _moving("Writing...") as progress, _readable(file):
            source = sys.stdin.buffer if file == "-" else file
            stored = client.put_file(key, source, expire, replace=replace, progress=progress)
    else:
        data = _read(file) if file is not None else (value or "").encode("utf-8", "surrogateescape")
        kind = kind or "str"
        try:
            content = _MAKE[kind](data)
        except ValueError as error:
            raise Failure(f"the value is not a valid {kind}: {error}") from error
        stored = client.put(key, content, expire, replace=replace)
    if not stored:
        raise Missing(f"there is a live entry under {printable(key)!r} already; use --replace to overwrite it")
    say("stored")


def _read(file: str) -> bytes:
    with _readable(file):
        return sys.stdin.buffer.read() if file == "-" else Path(file).read_bytes()


@contextmanager
def _readable(file: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise Failure(f"{file} cannot be read: {error.strerror}") from error


@click.command(cls=CacheCommand)
@click.argument("keys", nargs=-1, required=True)
@yes_option
@_dry_run
@as_json_option
@click.pass_obj
def rm(target: Target, /, *, keys: tuple[str, ...], yes: bool, dry_run: bool, as_json: bool) -> None:
    """Remove the entries of KEYS.

    Asks for confirmation unless --yes is given. Exit code 1: some of the entries did not exist; the others were
    removed.
    """
    client = target.client()
    if not dry_run:
        which = ", ".join(repr(printable(key)) for key in keys) if len(keys) <= _NAMED else f"{len(keys)} entries"
        _ask(f"Remove {which} from {client.url}?", yes)
    were_there: dict[str, bool] = {}
    interrupted = False
    try:
        for key in keys:
            were_there[key] = client.has(key) if dry_run else client.delete(key)
    except KeyboardInterrupt:
        interrupted = True
    said = f"{'would remove' if dry_run else 'removed'} {sum(were_there.values())} of {len(set(keys))}"
    if as_json:
        show_json(were_there)
    if interrupted:
        raise Interrupted(f"interrupted: {said}")
    if not as_json:
        say(said)
    missing = [key for key, live in were_there.items() if not live]
    if missing:
        raise _no_entry(missing[0])


@click.command(cls=CacheCommand)
@click.argument("pattern", default="*")
@click.option("-l", "--long", "is_long", is_flag=True, help="Show type, size and expiry too: one more request per key.")
@as_json_option
@click.pass_obj
def ls(target: Target, /, *, pattern: str, is_long: bool, as_json: bool) -> None:
    """List the keys that match PATTERN, such as 'page:*', or all keys.

    Expired entries that have not been removed yet are listed too, except with --long: S3 does not list expiry times.
    """
    client = target.client()
    wild = _WILD.search(pattern)
    keys: Iterator[str] = iter(client.keys(pattern[: wild.start()] if wild else pattern))
    keys = (key for key in keys if fnmatchcase(key, pattern))
    if is_long:
        with counting("Listing...", "entries") as count:
            infos = []
            for _, info in fan_out(client.info, keys):
                if info is not None:
                    infos.append(info)
                    count(len(infos))
        if as_json:
            show_json([_described(info) for info in infos])
        else:
            rows = [(info.type, f"{info.size:,}", _date(info.expires), info.key) for info in infos]
            show_table(("type", "bytes", "expires", "key"), rows)
    elif as_json:
        show_json(list(keys))
    else:
        for key in keys:
            click.echo(printable(key))


@click.command(cls=CacheCommand)
@click.argument("key")
@as_json_option
@click.pass_obj
def ttl(target: Target, /, *, key: str, as_json: bool) -> None:
    """Print the seconds until KEY expires, or "never".

    Exit code 1: there is no live entry.
    """
    left = target.client().ttl(key)
    if left == 0:
        raise _no_entry(key)
    if as_json:
        show_json({"key": key, "ttl": left})
    else:
        click.echo("never" if left is None else f"{left:.0f}")


@click.command(cls=CacheCommand)
@click.argument("key")
@_expire
@click.pass_obj
def touch(target: Target, /, *, key: str, expire: float | None) -> None:
    """Set a new time to expire for the entry under KEY, counted from now.

    Exit code 1: there is no live entry.
    """
    if not target.client().touch(key, expire):
        raise _no_entry(key)


@click.command(cls=CacheCommand)
@click.argument("key")
@as_json_option
@click.pass_obj
def info(target: Target, /, *, key: str, as_json: bool) -> None:
    """Print the metadata of the entry under KEY, without reading its value.

    Exit code 1: there is no live entry.
    """
    found = target.client().info(key)
    if found is None:
        raise _no_entry(key)
    if as_json:
        show_json(_described(found))
    else:
        show_table(("field", "content"), [(name, str(content)) for name, content in _described(found).items()])


@click.command(cls=CacheCommand)
@click.option("--prefix", default="", help="Remove only keys with this prefix.")
@yes_option
@_dry_run
@as_json_option
@click.pass_obj
def clear(target: Target, /, *, prefix: str, yes: bool, dry_run: bool, as_json: bool) -> None:
    """Remove all entries of the cache, including expired ones.

    Locks, other caches in the bucket and foreign objects stay. Asks for confirmation unless --yes is given.
    """
    client = target.client()
    count = 0
    if not dry_run:
        which = f" whose keys begin with {printable(prefix)!r}" if prefix else ""
        _ask(f"Remove all entries{which} from {client.url}?", yes)
    with counting("Listing...", "to remove" if dry_run else "removed") as show:

        def progress(so_far: int) -> None:
            nonlocal count
            show(count := max(count, so_far))

        try:
            if dry_run:
                for number, _ in enumerate(client.keys(prefix), 1):
                    progress(number)
            else:
                client.clear(prefix, progress=progress)
        except KeyboardInterrupt:
            raise Interrupted(f"interrupted: {'counted' if dry_run else 'removed'} {count}") from None
    if as_json:
        show_json({"would_remove" if dry_run else "removed": count})
    else:
        click.echo(f"{'would remove' if dry_run else 'removed'} {count}")


def _ask(question: str, yes: bool) -> None:
    if not yes:
        click.confirm(question, abort=True, err=True)


def _described(info: EntryInfo) -> dict[str, Any]:
    return {
        "key": info.key,
        "object_key": info.object_key,
        "type": info.type,
        "encoding": info.encoding,
        "size": info.size,
        "created": _date(info.created),
        "expires": _date(info.expires),
        "etag": info.etag,
        "key_id": info.key_id,
    }


def _date(seconds: float | None) -> str:
    """Return epoch *seconds* as a date in UTC, or "never" for ``None``."""
    if seconds is None:
        return "never"
    try:
        return dt.datetime.fromtimestamp(seconds, dt.timezone.utc).isoformat(timespec="seconds")
    except (OverflowError, ValueError, OSError):
        return f"@{seconds:.0f}"  # past the year 9999


#: In the order of the command line's help.
COMMANDS: Final = (get, put, rm, ls, ttl, touch, info, clear)
