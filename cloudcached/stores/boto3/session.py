"""boto3's sessions and clients: one of each per store and process, made for the first request."""

from __future__ import annotations

import datetime as dt
import logging
import os
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

from ...errors import ConfigError
from ...runtime.forks import PerProcess
from .deadlines import Bounded
from .listing import read_listing

if TYPE_CHECKING:
    import boto3
    from mypy_boto3_s3 import S3Client

log = logging.getLogger("cloudcached")

#: Connections of a client: as many as there may be threads that need one at once.
CONNECTIONS: Final = 64
_CLIENT_SETTINGS: Final = ("endpoint_url", "addressing_style")
#: An argument for ``delete_object`` that boto3 does not know, in epoch seconds: Ceph's condition for deletes.
UNMODIFIED_SINCE: Final = "UnmodifiedSince"

#: Held while boto3 is imported. A fork waits for that: if another thread is importing a module, Python gives
#: the child that module's lock with no thread to release it, and the child's own import would never end.
IMPORTING: Final = threading.RLock()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=IMPORTING.acquire, after_in_parent=IMPORTING.release, after_in_child=IMPORTING.release)


def connect_timeout(timeout: float) -> float:
    """Return the seconds that connecting may take."""
    return min(2.0, timeout / 2)


class Connection:
    """A boto3 client and the HTTP session below it."""

    def __init__(self, session: boto3.Session, client: S3Client) -> None:
        self.session = session
        self.client = client
        # There is no public way to the HTTP session: botocore has an argument for its class that no client passes on.
        endpoint: Any = client._endpoint  # type: ignore[attr-defined]  # noqa: SLF001
        self.http = endpoint.http_session = Bounded(endpoint.http_session)
        events: Any = client.meta.events
        events.register("before-parameter-build.s3.DeleteObject", _take_condition)
        events.register("before-call.s3.DeleteObject", _send_condition)
        events.register("before-parse.s3.ListObjectsV2", read_listing)


def _take_condition(params: dict[str, Any], context: dict[str, Any], **_: Any) -> None:
    moment = params.pop(UNMODIFIED_SINCE, None)
    if moment is not None:
        context[UNMODIFIED_SINCE] = moment


def _send_condition(params: dict[str, Any], context: dict[str, Any], **_: Any) -> None:
    moment = context.get(UNMODIFIED_SINCE)
    if moment is not None:
        when = dt.datetime.fromtimestamp(moment, dt.timezone.utc)
        params["headers"]["x-amz-delete-if-unmodified-since"] = f"{when:%Y-%m-%d %H:%M:%S}"


def _make_loader() -> Any:
    from botocore.session import get_session  # noqa: PLC0415

    return get_session().get_component("data_loader")


#: Holds the models of AWS's services that botocore has loaded: megabytes of JSON, which each session would load again.
_loader: PerProcess[Any] = PerProcess(_make_loader)


@contextmanager
def refusals() -> Iterator[None]:
    """Turn what boto3 says of wrong settings inside the block into ``ConfigError``."""
    from botocore.exceptions import BotoCoreError  # noqa: PLC0415 - boto3 is needed now

    try:
        yield
    except (BotoCoreError, ValueError) as exc:
        raise ConfigError(f"boto3 refuses its settings: {exc}") from exc


class _Made:
    """The session and the connection of one process."""

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self.session: boto3.Session | None = None
        self.connection: Connection | None = None


class Sessions:
    """Makes the boto3 session and the client of one store. Thread-safe; after a fork the child makes its own.

    settings: for the session and the client, under boto3's own names. timeout: seconds for connecting and for each
    read.
    """

    def __init__(self, settings: Mapping[str, str], timeout: float) -> None:
        self._settings = dict(settings)
        self._timeout = timeout
        self._made = PerProcess(_Made)
        self._made()

    def connection(self) -> Connection:
        """Return this process's connection. Raises ``ConfigError`` if boto3 refuses the settings."""
        made = self._made()
        connection = made.connection
        if connection is None:
            with IMPORTING, made.lock:  # in this order, everywhere
                if made.connection is None:
                    made.connection = self._make()
                connection = made.connection
        return connection

    def session(self) -> boto3.Session:
        """Return this process's session: it has the settings, and finds the credentials.

        Raises ``ConfigError`` if boto3 refuses the settings. Sends nothing: ``get_credentials`` of the session may.
        """
        made = self._made()
        if made.session is None:
            with IMPORTING, made.lock:
                if made.session is None:
                    made.session = self._make_session()
        return made.session

    def client_without_credentials(self) -> S3Client:
        """Return a new client with the settings of all others, but with keys of no use: no source of keys is asked.

        Raises ``ConfigError`` if boto3 refuses the settings.
        """
        session = self.session()
        with IMPORTING, self._made().lock:
            return self._make_client(session, aws_access_key_id="none", aws_secret_access_key="none")  # noqa: S106

    def close(self) -> None:
        """Close the connections of this process; the next request makes new ones."""
        made = self._made.peek()
        if made is not None and made.connection is not None:
            connection, made.connection = made.connection, None
            connection.client.close()

    def _make(self) -> Connection:
        session = self.session()
        return Connection(session, self._make_client(session))

    def _make_session(self) -> boto3.Session:
        import encodings.idna  # noqa: F401, PLC0415 - otherwise the first connection imports it, outside the lock

        import boto3  # noqa: PLC0415 - 0.8 s that a process without requests need not spend
        from botocore.session import get_session  # noqa: PLC0415

        settings: dict[str, Any] = {k: v for k, v in self._settings.items() if k not in _CLIENT_SETTINGS}
        with refusals():
            core = get_session()
            core.register_component("data_loader", _loader())
            return boto3.Session(botocore_session=core, **settings)

    def _make_client(self, session: boto3.Session, **credentials: Any) -> S3Client:
        from botocore.config import Config  # noqa: PLC0415 - came with the session

        with refusals():
            config = Config(**self._client_config())
            endpoint_url = self._settings.get("endpoint_url")
            return session.client("s3", endpoint_url=endpoint_url, config=config, **credentials)

    def _client_config(self) -> dict[str, Any]:
        style = self._settings.get("addressing_style")
        return {
            "connect_timeout": connect_timeout(self._timeout),
            "read_timeout": self._timeout,
            # Only the engine repeats requests: a conditional write that is repeated below it loses to itself.
            "retries": {"total_max_attempts": 1, "mode": "standard"},
            "max_pool_connections": CONNECTIONS,
            # The signature covers the body's SHA-256 already; the newer checksums break older stores.
            "request_checksum_calculation": "when_required",
            "response_checksum_validation": "when_required",
            "tcp_keepalive": True,
            **({"s3": {"addressing_style": style}} if style else {}),
        }
