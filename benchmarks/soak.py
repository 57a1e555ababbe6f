"""A Django site under load for minutes, while the S3 server is killed and started again.

    make soak                  5 minutes
    make soak SECONDS=60       shorter

gunicorn serves the site; 16 clients send requests without a pause, enough to keep the machine busy. The gateway is
killed after 40 % of the time and is back after 50 %. The run passes if no answer has a status of 500 or more, if there
are hits again after the outage, and if the last fifth of the time uses at most 5 % more memory than the first, which
begins when each worker has answered once.
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import random
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from contextlib import closing, suppress
from pathlib import Path

import boto3

HERE = Path(__file__).parent
CEPH = HERE.parent / "tests" / "support" / "ceph-s3"
PAGES = 200
WORKERS = 2


def free_port() -> int:
    """Return a free port on loopback."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def ceph(verb: str, folder: str, port: int) -> str:
    """Run the script of the throw-away gateway."""
    command = [str(CEPH), verb, folder, str(port)]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout  # noqa: S603 - our own script


def memory_of(pid: int) -> int:
    """Return the resident bytes of a process and its children."""
    total = 0
    for status in Path("/proc").glob("[0-9]*/status"):
        try:
            fields = dict(line.split(":", 1) for line in status.read_text().splitlines() if ":" in line)
        except OSError:
            continue
        if str(pid) in (fields["PPid"].strip(), fields["Pid"].strip()):
            total += int(fields.get("VmRSS", "0 kB").split()[0]) * 1024
    return total


def warm_up(port: int, workers: int, patience: float = 60) -> None:
    """Send requests until each worker has answered: modules imported for a first answer do not count as growth."""
    end, seen = time.monotonic() + patience, set()
    while len(seen) < workers:
        if time.monotonic() > end:
            raise TimeoutError(f"{len(seen)} of {workers} workers have answered")
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=patience)
        with closing(connection), suppress(OSError, http.client.HTTPException):
            connection.request("GET", "/0")
            seen.add(json.loads(connection.getresponse().read())["pid"])
        time.sleep(0.05)


class Load:
    """Clients that request pages until they are stopped."""

    def __init__(self, port: int, clients: int) -> None:
        self.port = port
        self.stopped = threading.Event()
        #: The number of answers by phase, status or error, and whether the value was cached.
        self.seen: Counter[tuple[str, str, bool]] = Counter()
        self.slowest: dict[str, float] = {}
        self.phase = "before"
        self.threads = [threading.Thread(target=self.run, args=(seed,)) for seed in range(clients)]
        for thread in self.threads:
            thread.start()

    def run(self, seed: int) -> None:
        """Request pages, over one connection until it breaks."""
        pages = random.Random(seed)  # noqa: S311
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        while not self.stopped.is_set():
            phase, began = self.phase, time.monotonic()
            try:
                connection.request("GET", f"/{pages.randrange(PAGES)}")
                response = connection.getresponse()
                body = response.read()
                status, cached = str(response.status), response.status == http.client.OK and json.loads(body)["cached"]
            except (OSError, http.client.HTTPException) as error:
                status, cached = type(error).__name__, False
                connection.close()
            self.seen[phase, status, cached] += 1
            self.slowest[phase] = max(self.slowest.get(phase, 0), time.monotonic() - began)
        connection.close()

    def stop(self) -> None:
        """End all clients."""
        self.stopped.set()
        for thread in self.threads:
            thread.join()


def soak(seconds: float, worker_class: str) -> bool:
    """Run the site and its clients; return whether the run passed."""
    with tempfile.TemporaryDirectory() as folder:
        store, store_port, port = f"{folder}/ceph", free_port(), free_port()
        lines = ceph("start", store, store_port).splitlines()
        environment = dict(line.removeprefix("export ").split("=", 1) for line in lines)
        os.environ.update(environment)
        boto3.client("s3").create_bucket(Bucket="soak")
        os.environ["SOAK_URL"] = "s3://soak/site"
        command = [sys.executable, "-m", "gunicorn", "--chdir", str(HERE), "--log-level", "warning"]
        command += ["--workers", str(WORKERS), "--worker-class", worker_class, "--threads", "8"]
        command += ["--bind", f"127.0.0.1:{port}"]
        server = subprocess.Popen([*command, "soak_site:application"])  # noqa: S603
        memory: list[int] = []
        load = None
        try:
            warm_up(port, WORKERS)
            load = Load(port, 16)
            began = time.monotonic()
            while (share := (time.monotonic() - began) / seconds) < 1:
                phase = "before" if share < 0.4 else "outage" if share < 0.5 else "after"  # noqa: PLR2004
                if phase != load.phase:
                    ceph("down" if phase == "outage" else "up", store, store_port)
                    load.phase = phase
                memory.append(memory_of(server.pid))
                time.sleep(0.5)
            load.stop()
        finally:
            if load:
                load.stop()
            server.terminate()
            server.wait()
            ceph("stop", store, store_port)
    return report(load, memory, seconds)


def report(load: Load, memory: list[int], seconds: float) -> bool:
    """Print the results; return whether the run passed."""
    for phase in ("before", "outage", "after"):
        rows = {key: count for key, count in load.seen.items() if key[0] == phase}
        answers = ", ".join(
            f"{status} {'hit' if hit else 'miss'}: {count:,}" for (_, status, hit), count in rows.items()
        )
        print(f"{phase:7} {sum(rows.values()):>9,} answers, slowest {load.slowest.get(phase, 0):.2f} s; {answers}")
    fifth = len(memory) // 5
    first, last = (sum(part) / len(part) for part in (memory[:fifth], memory[-fifth:]))
    print(
        f"memory: {first / 2**20:.1f} MiB, then {last / 2**20:.1f} MiB: {last / first - 1:+.1%}; {seconds:.0f} s in all"
    )
    failed = [key for key in load.seen if key[1] != "200"]
    recovered = any(phase == "after" and hit for phase, _, hit in load.seen)
    passed = not failed and recovered and last <= first * 1.05
    print("passed" if passed else f"FAILED: {failed=} {recovered=}")
    return passed


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else "")
    parser.add_argument("--seconds", type=float, default=300)
    parser.add_argument("--worker-class", default="gthread", choices=["gthread", "gevent", "sync"])
    arguments = parser.parse_args()
    sys.exit(not soak(arguments.seconds, arguments.worker_class))
