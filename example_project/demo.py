"""The demonstration: ``python -m example_project.demo``, or ``make demo``.

Starts its own S3 server, and a Django site and a Flask app on it; visits every page twice, shows what that cost, and
serves until Ctrl-C.

    ONCE=1            end after the visits
    CLOUDCACHED_URL   s3://bucket/prefix: use this bucket (and the usual AWS variables) instead of an own S3 server
    SECRET_KEY        the key that signs the entries; a random one by default
    PORT              the first port to try, 8000 by default; busy ports are skipped
    ISING_EFFORT      1 is the full computation, 0.05 a quick and noisy one

Exit codes: 0 all went well, 1 something is missing or failed, 2 the bucket cannot be used, 130 interrupted.
"""

from __future__ import annotations

import importlib.util
import logging
import os
import secrets
import signal
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from http import HTTPStatus

from .parts import LAST_PORT, EmbeddedS3, Failure, Log, Part, address_of, listen

#: Modules that are imported, and pip's names for them.
PACKAGES = {
    "numpy": "numpy",
    "boto3": "boto3",
    "django": "django",
    "flask": "flask",
    "flask_caching": "flask-caching",
    "moto": "moto[server]",
    "PIL": "pillow",
}
#: Site, page, and the method that caches it.
PAGES = (
    ("django", "/", "get_many"),
    ("django", "/energy/", "cache_page"),
    ("django", "/hysteresis/", "{% cache %}"),
    ("django", "/replicas/", "get_many"),
    ("django", "/replicas/fine/", "get_many"),
    ("django", "/lattice/hot/", "get_many"),
    ("flask", "/", "get_many"),
)
#: Processes of each site: Django has two, since a shared cache needs somebody to share it with.
WORKERS = {"django": 2, "flask": 1}
ROW = "{:<23}{:<13}{:<26}{:<26}{}"


def check_packages() -> None:
    """Raise ``Failure`` for missing packages, before an import fails."""
    if sys.version_info < (3, 10):  # noqa: UP036 without make any Python may run this
        raise Failure(f"the demo needs Python 3.10 or newer; this is {sys.version.split()[0]}")
    missing = [pip for name, pip in PACKAGES.items() if importlib.util.find_spec(name) is None]
    if missing:
        wanted = " ".join(repr(pip) for pip in missing)
        raise Failure(f"the demo needs more packages: {sys.executable} -m pip install {wanted} (make demo does)")


def check_bucket(url: str) -> None:
    """Write, read and delete one entry. Raises ``Failure`` where that is not possible."""
    from cloudcached import Client, CloudCachedError  # noqa: PLC0415 only after its packages are checked

    if url.startswith("memory:"):
        raise Failure("the demo runs several processes, which cannot share memory://; use a bucket", 2)
    logging.getLogger().addHandler(logging.NullHandler())  # the message below is enough
    try:
        with Client(url) as client:
            client.put("demo:check", "here", time_to_expire=60, replace=True)
            found = client.get("demo:check")
            client.delete("demo:check")
    except CloudCachedError as error:
        raise Failure(f"{url} cannot be used: {error}", 2) from error
    if found != "here":
        raise Failure(f"{url} cannot be used: it does not return the value that was written", 2)


def start_sites(env: dict[str, str], port: int, log: Log, stack: ExitStack) -> dict[str, Part]:
    """Start the Django site and the Flask app, each with the address of the other."""
    listeners = {name: listen(port) for name in ("django", "flask")}
    env = env | {f"{name.upper()}_ADDRESS": address_of(listener) for name, listener in listeners.items()}
    sites = {name: Part(name, listener, env, log, stack, workers=WORKERS[name]) for name, listener in listeners.items()}
    for site in sites.values():
        wait_for(site)
    return sites


def wait_for(site: Part) -> None:
    """Wait until all workers of a site serve, so that no visit pays for a worker's start."""
    seen: set[bytes] = set()
    at_once = 2 * WORKERS[site.name]  # so that busy workers leave some to the others
    with ThreadPoolExecutor(at_once) as pool:
        while len(seen) < WORKERS[site.name]:
            site.check()
            seen.update(body for _, _, body in pool.map(site.ask, ["/worker"] * at_once))
            time.sleep(0.02)


def visit(site: Part, path: str) -> tuple[str, bool]:
    """Visit a page; return its source and duration as text, and whether it was computed."""
    begun = time.perf_counter()
    status, timing = site.fetch(path)
    seconds = time.perf_counter() - begun
    if status != HTTPStatus.OK:
        raise Failure(f"{site.address}{path} answers HTTP {status}")
    computed = "compute;" in timing
    source = "computed" if computed else "from the cache"
    return f"{source:<15}{seconds:6.2f} s" if seconds >= 1 else f"{source:<15}{1000 * seconds:5.0f} ms", computed


def visit_all(sites: dict[str, Part], log: Log, *, counted: bool) -> None:
    """Visit every page twice and print the table."""
    print(ROW.format("page", "cached by", "first visit", "second visit", "requests to S3" if counted else "").rstrip())
    log.asked()  # those were for their start
    for name, path, how in PAGES:
        first, _ = visit(sites[name], path)
        asked = [log.asked()]
        second, again = visit(sites[name], path)
        asked.append(log.asked())
        page = f"{name.title()} {path}"
        print(ROW.format(page, how, first, second, "; then ".join(asked) if counted else "").rstrip(), flush=True)
        if again:
            raise Failure(f"{sites[name].address}{path} was computed again for the second visit")


def run(log: Log, stack: ExitStack) -> None:
    """Start everything, visit all pages, and serve until a signal comes."""
    url, port = os.environ.get("CLOUDCACHED_URL", ""), os.environ.get("PORT") or "8000"
    check_packages()
    if not port.isdecimal() or int(port) > LAST_PORT:
        raise Failure(f"PORT={port} is not a port: use a number from 0 (any) to {LAST_PORT}")
    if url:
        check_bucket(url)
        env, parts = dict(os.environ), []
        print(f"Using {url}\n")
    else:
        s3 = EmbeddedS3(log, stack)
        env, parts = s3.env(), [s3, s3.plug]
        print(f"Started an S3 server at {s3.address} for {env['CLOUDCACHED_URL']}\n")
    if not env.get("SECRET_KEY"):
        env["SECRET_KEY"] = secrets.token_hex()
        if url:
            print("SECRET_KEY is not set: this run signs with a random key, so no other run can read its entries.\n")
    sites = start_sites(env, int(port), log, stack)
    visit_all(sites, log, counted=not url)
    print()
    for name, site in sites.items():
        print(f"{name.title():<7} {site.address}/")
    if os.environ.get("ONCE", "") not in ("", "0"):
        return
    with suppress(KeyboardInterrupt):
        print(f"Log     {log.errors.name}\n\nCtrl-C ends it.", flush=True)
        while True:
            for part in (*sites.values(), *parts):
                part.check()
            time.sleep(0.5)
    print("\nEnded.")


def main() -> int:
    """Run the demonstration; return the exit code."""
    for number in (signal.SIGINT, signal.SIGTERM):  # both end it in the same way, even if the shell ignores them
        signal.signal(number, signal.default_int_handler)
    with ExitStack() as stack:
        log = Log(stack)
        try:
            run(log, stack)
        except Failure as failure:
            path = log.kept()
            print(f"demo: {failure}{f' (more in {path})' if path else ''}", file=sys.stderr)
            return failure.code
        except KeyboardInterrupt:
            print("\nInterrupted.", file=sys.stderr)
            return 130
        finally:
            for number in (signal.SIGINT, signal.SIGTERM):
                signal.signal(number, signal.SIG_IGN)  # the cleanup must not be interrupted
    return 0


if __name__ == "__main__":
    sys.exit(main())
