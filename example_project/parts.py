"""The servers of the demonstration, each in processes of its own, as their parent sees them."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import tempfile
from collections import Counter
from contextlib import ExitStack, suppress
from email.message import Message
from http import HTTPStatus
from pathlib import Path
from urllib.error import HTTPError, URLError
from urllib.request import ProxyHandler, Request, build_opener

HOST = "127.0.0.1"
LAST_PORT = 65535
BUCKET = "cloudcached-demo"
BROWSER = {"Accept": "text/html,application/xhtml+xml;q=0.9,*/*;q=0.8", "User-Agent": "Mozilla/5.0 (CloudCached demo)"}


class Failure(Exception):
    """An error reported in one line, with its exit code."""

    def __init__(self, message: str, code: int = 1) -> None:
        super().__init__(" ".join(message.split()))
        self.code = code


def listen(port: int) -> socket.socket:
    """Open *port* on loopback, or the next one that is not busy; 0 takes any free port.

    The socket is opened here and passed on, so that the address is known and reserved before the server is ready.
    """
    for candidate in [*range(port, min(port + 100, LAST_PORT + 1)), 0] if port else [0]:
        with suppress(OSError):  # busy, or reserved
            return socket.create_server((HOST, candidate))
    raise Failure(f"no free port on {HOST}")


def address_of(listener: socket.socket) -> str:
    """Return the URL of a server on this socket, without a trailing slash."""
    return "http://{}:{}".format(*listener.getsockname())


class Log:
    """The output of the servers: requests to S3, and errors."""

    def __init__(self, stack: ExitStack) -> None:
        self.requests = stack.enter_context(tempfile.TemporaryFile(prefix="cloudcached-demo-"))  # noqa: SIM115 by stack
        self.errors = stack.enter_context(
            tempfile.NamedTemporaryFile(prefix="cloudcached-demo-", suffix=".log", delete=False)  # noqa: SIM115 by stack
        )
        self._told = 0  # bytes of ``requests``
        self._keep = False
        stack.callback(self._remove)

    def asked(self) -> str:
        """Return the requests to S3 since the last call, as the server logged them."""
        lines = os.pread(self.requests.fileno(), 1 << 24, self._told)
        self._told += len(lines)
        counts = Counter(line.split()[0].decode() for line in lines.splitlines())
        return ", ".join(f"{count} {verb}" for verb, count in counts.items()) or "none"

    def kept(self) -> str:
        """Keep the error log after the end and return its path; return an empty string if nothing was written."""
        self._keep = os.fstat(self.errors.fileno()).st_size > 0
        return self.errors.name if self._keep else ""

    def _remove(self) -> None:
        if not self._keep:
            Path(self.errors.name).unlink(missing_ok=True)


class Part:
    """One of the servers."""

    def __init__(
        self, name: str, listener: socket.socket, env: dict[str, str], log: Log, stack: ExitStack, *, workers: int = 1
    ) -> None:
        """Start it on *listener*, which is closed here; *stack* ends it.

        workers: processes that share the listener; any free one takes the next connection.
        """
        self.name, self.address = name, address_of(listener)
        with listener:
            self.processes = [
                subprocess.Popen(  # noqa: S603 our own module
                    [sys.executable, "-m", "example_project.serve", name, str(listener.fileno())],
                    cwd=Path(__file__).resolve().parents[1],
                    env=env | {"WORKER": str(number)},
                    stdin=subprocess.PIPE,  # closes when this process ends in any way, which ends the other
                    stdout=log.requests,
                    stderr=log.errors,
                    pass_fds=[listener.fileno()],
                    start_new_session=True,  # Ctrl-C is for this process alone, which ends the others
                )
                for number in range(1, workers + 1)
            ]
        stack.callback(self._stop)

    def fetch(self, path: str, method: str = "GET") -> tuple[int, str]:
        """Request a page as a browser does; return its status and its ``Server-Timing``."""
        status, headers, _ = self.ask(path, method)
        return status, headers.get("Server-Timing", "")

    def ask(self, path: str, method: str = "GET") -> tuple[int, Message, bytes]:
        """Send a request; return the status, headers and body of the response."""
        request = Request(self.address + path, method=method, headers=BROWSER)  # noqa: S310 our own address
        try:
            with build_opener(ProxyHandler({})).open(request, timeout=300) as response:
                return response.status, response.headers, response.read()
        except HTTPError as error:
            with error:
                return error.code, error.headers, error.read()
        except (URLError, ConnectionError, TimeoutError) as error:
            raise Failure(f"the {self.name} server does not answer at {self.address}: {error}") from error

    def check(self) -> None:
        """Raise ``Failure`` if a process has ended."""
        for process in self.processes:
            if process.poll() is not None:
                raise Failure(f"the {self.name} server has ended with exit code {process.returncode}")

    def _stop(self) -> None:
        for process in self.processes:
            process.terminate()
        for process in self.processes:
            try:
                process.wait(5)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            if process.stdin:
                process.stdin.close()


class EmbeddedS3(Part):
    """moto's S3 server with one bucket; the sites reach it through a plug that can be pulled."""

    def __init__(self, log: Log, stack: ExitStack) -> None:
        super().__init__("s3", listen(0), dict(os.environ), log, stack)
        status, _ = self.fetch(f"/{BUCKET}", "PUT")
        if status != HTTPStatus.OK:
            raise Failure(f"the embedded S3 server refused to make a bucket: HTTP {status}")
        log.asked()  # that request was not the sites'
        self.plug = Part("plug", listen(0), dict(os.environ) | {"S3_ADDRESS": self.address}, log, stack)
        self._plugged = json.loads(self.plug.ask("/")[2])["address"]

    def env(self) -> dict[str, str]:
        """Return the environment for its clients, without anything of the user's own AWS account."""
        env = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
        return env | {
            "CLOUDCACHED_URL": f"s3://{BUCKET}/example",
            "AWS_ENDPOINT_URL": self._plugged,
            "PLUG_ADDRESS": self.plug.address,
            "AWS_ACCESS_KEY_ID": "demo",
            "AWS_SECRET_ACCESS_KEY": "demo",
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_CONFIG_FILE": os.devnull,
            "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
            "NO_PROXY": HOST,
            "no_proxy": HOST,
        }
