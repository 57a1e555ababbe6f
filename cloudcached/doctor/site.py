"""A bucket under examination: raw requests to it, and the removal of the objects that they create."""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from types import TracebackType
from typing import Any, NamedTuple

from .._types import Clock
from ..config import Config
from ..entry.keys import Names
from ..errors import StoreError
from ..stores import open_store
from ..stores.boto3.deadlines import Deadline
from ..stores.boto3.session import Sessions
from ..stores.boto3.store import kind_of
from ..stores.conditions import endpoint_of
from ..stores.failures import from_answer, made
from ..stores.transport import Transport


class Reply(NamedTuple):
    """The store's answer to one request."""

    status: int
    #: The store's own error code, "" if it gave none.
    code: str
    text: str
    headers: Mapping[str, str]
    #: The answer as boto3 returns it; a body is under ``Content``.
    data: Mapping[str, Any]

    @property
    def ok(self) -> bool:
        """Whether the request was done."""
        return 200 <= self.status < 300  # noqa: PLR2004

    @property
    def label(self) -> str:
        """The status, and the error code if there is one."""
        return f"{self.status} {self.code}".rstrip() if self.code != str(self.status) else self.code

    def error(self, operation: str) -> StoreError:
        """Return the library's error for this answer."""
        return from_answer(operation, "", self.status, self.code, self.text)


class Site:
    """One bucket, with a place for the objects of one examination. They are removed at the end."""

    def __init__(self, config: Config, clock: Clock) -> None:
        self.config = config
        self.clock = clock
        #: The store that the client would use, but it trusts conditional writes, so that they are sent unprobed.
        self.store = open_store(replace(config, conditional_writes="trust"), clock)
        self.by_boto3 = open_store(replace(config, conditional_writes="trust", transport="boto3"), clock)
        self.root = Names(config.prefix).reserved("doctor", secrets.token_hex(8)) + "/"
        #: Whether removed objects leave old versions behind.
        self.versioned = False
        #: The ``Server`` header of the last answer that had one.
        self.server = ""
        self._sessions = Sessions(dict(config.s3), config.timeout)
        self._names: list[str] = []

    def __enter__(self) -> Site:  # noqa: PYI034 - Self needs Python 3.11
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.clear()
        self.store.close()
        self.by_boto3.close()
        self._sessions.close()

    @property
    def endpoint(self) -> str:
        """The URL that requests go to."""
        return endpoint_of(self.config, self._sessions)

    @property
    def transport(self) -> tuple[str, str]:
        """The transport that the client would use, and why it is not the wire ("" if it is)."""
        return Transport(self.config).chosen()

    def name(self, kind: str) -> str:
        """Return a fresh name for an object, which is removed at the end."""
        name = f"{self.root}{len(self._names)}-{kind}"
        self._names.append(name)
        return name

    def write(self, kind: str, body: bytes) -> tuple[str, str]:
        """Write a fresh object; return its name and ETag. **Cost:** 1 PUT."""
        name = self.name(kind)
        return name, self.must("put_object", Key=name, Body=body).data["ETag"].strip('"')

    def body(self, name: str) -> bytes | None:
        """Return an object's body, or ``None`` if there is no object. **Cost:** 1 GET."""
        reply = self.ask("get_object", Key=name)
        if reply.status == 404:  # noqa: PLR2004
            return None
        content: bytes = (reply if reply.ok else self.must("get_object", Key=name)).data["Content"]
        return content

    def must(self, method: str, **arguments: Any) -> Reply:
        """Send a request that must succeed, and repeat it once if that may help. Raises ``StoreError``."""
        try:
            reply = self._done(method, arguments)
        except StoreError as error:
            if not error.retryable:
                raise
            reply = self._done(method, arguments)
        return reply

    def _done(self, method: str, arguments: Mapping[str, Any]) -> Reply:
        reply = self.ask(method, **arguments)
        if not reply.ok:
            raise reply.error(method)
        return reply

    def ask(self, method: str, **arguments: Any) -> Reply:
        """Send one request by the boto3 client's *method*, and return its answer, also an error answer.

        Raises ``StoreError`` if there is no answer, and ``ConfigError`` if boto3 refuses its settings.
        """
        connection = self._sessions.connection()
        try:
            with connection.http.until(Deadline(self.config.timeout)):
                data: dict[str, Any] = getattr(connection.client, method)(Bucket=self.config.bucket, **arguments)
                if "Body" in data:
                    data["Content"] = bytes(data.pop("Body").read())
        except Exception as exc:
            response = getattr(exc, "response", None)
            if not isinstance(response, dict):
                kind = type(exc) if isinstance(exc, StoreError) else kind_of(exc)
                raise made(kind, method, "", f"{type(exc).__name__}: {exc}") from exc
            data = response
        about, error = data.get("ResponseMetadata", {}), data.get("Error", {})
        headers = about.get("HTTPHeaders", {})
        self.server = headers.get("server", self.server)
        return Reply(
            about.get("HTTPStatusCode", 0), str(error.get("Code", "")), error.get("Message", ""), headers, data
        )

    @contextmanager
    def header(self, operation: str, name: str, value: str) -> Iterator[None]:
        """Add a header that boto3 does not know to each request of *operation*, for example ``DeleteObject``."""
        events = self._sessions.connection().client.meta.events

        def add(params: dict[str, Any], **_: Any) -> None:
            params["headers"][name] = value

        events.register(f"before-call.s3.{operation}", add)
        try:
            yield
        finally:
            events.unregister(f"before-call.s3.{operation}", add)

    def clear(self) -> str:
        """Remove every object of this examination; return a message about those that stay, "" if there are none.

        **Cost:** 1 DELETE each; in a versioned bucket + 1 ListObjectVersions + 1 DELETE for each version.
        """
        names, self._names = self._names, []
        failures = list(filter(None, (self._removed(Key=name) for name in names)))
        if self.versioned and names:
            failures += self._clear_versions()
        return f"{len(failures)} objects under {self.root} stay: {failures[0]}" if failures else ""

    def _clear_versions(self) -> list[str]:
        failures: list[str] = []
        while not failures:
            try:
                data = self.must("list_object_versions", Prefix=self.root).data
            except StoreError as error:
                return [str(error)]
            rows = [*data.get("Versions", ()), *data.get("DeleteMarkers", ())]
            if not rows:
                break
            failures += filter(None, (self._removed(Key=row["Key"], VersionId=row["VersionId"]) for row in rows))
        return failures

    def _removed(self, **which: str) -> str:
        """Remove an object or a version; return the reason if it stays, "" if it is gone."""
        try:
            reply = self.ask("delete_object", **which)
        except StoreError as error:
            return str(error)
        return "" if reply.ok or reply.status == 404 else str(reply.error("delete"))  # noqa: PLR2004
