"""A TLS proxy on loopback in front of an S3 server, with certificates of its own.

    authority = Authority(folder)
    with TLSProxy(server.endpoint, authority, version="1.3") as proxy:
        ...  # https at proxy.endpoint, trusted by those who trust authority.bundle

Bytes are relayed as they come, so the Host header that a signature covers is the one that the client sent.
"""

from __future__ import annotations

import datetime as dt
import ipaddress
import select
import socket
import ssl
import threading
from contextlib import suppress
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

if TYPE_CHECKING:
    from typing_extensions import Self

VERSIONS = {"1.2": ssl.TLSVersion.TLSv1_2, "1.3": ssl.TLSVersion.TLSv1_3}
_PIECE = 1 << 16


class Authority:
    """A certificate authority, and what it has certified: files in a folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "an authority of tests")])
        certificate = self._signed(self._name, self._key, x509.BasicConstraints(ca=True, path_length=None))
        #: The file of certificates to trust.
        self.bundle = str(self._written("authority", certificate))

    def certified(self, *hosts: str, name: str = "server") -> Path:
        """Return a file with a key and a certificate for these names and addresses."""
        key = ec.generate_private_key(ec.SECP256R1())
        names: list[x509.GeneralName] = []
        for host in hosts:
            try:
                names.append(x509.IPAddress(ipaddress.ip_address(host)))
            except ValueError:
                names.append(x509.DNSName(host))
        subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
        extension = x509.SubjectAlternativeName(names) if names else x509.BasicConstraints(ca=False, path_length=None)
        return self._written(name, self._signed(subject, key, extension), key)

    @cached_property
    def server(self) -> Path:
        """The file of a server on loopback."""
        return self.certified("localhost", "127.0.0.1", "::1")

    def context(self, version: str = "1.3", certified: Path | None = None) -> ssl.SSLContext:
        """Return the context of a server that speaks this version of TLS alone."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = context.maximum_version = VERSIONS[version]
        context.load_cert_chain(certified or self.server)
        return context

    def _signed(self, subject: x509.Name, key: ec.EllipticCurvePrivateKey, extension: Any) -> x509.Certificate:
        now = dt.datetime.now(dt.timezone.utc)
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - dt.timedelta(days=1))
            .not_valid_after(now + dt.timedelta(days=30))
            .add_extension(extension, critical=isinstance(extension, x509.BasicConstraints))
            .sign(self._key, hashes.SHA256())
        )

    def _written(self, name: str, certificate: x509.Certificate, key: Any = None) -> Path:
        data = certificate.public_bytes(serialization.Encoding.PEM)
        if key is not None:
            data += key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
        path = self._folder / f"{name}.pem"
        path.write_bytes(data)
        return path


class TLSProxy:
    """The proxy; ``with`` starts and ends it. One thread for each connection."""

    def __init__(
        self, target: str, authority: Authority, version: str = "1.3", context: ssl.SSLContext | None = None
    ) -> None:
        parts = urlsplit(target)
        self._target = (parts.hostname, parts.port)
        self._context = context or authority.context(version)
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=128)
        self._sockets: set[socket.socket] = set()
        #: What each connection spoke, and whether it resumed an earlier session.
        self.spoken: list[tuple[str | None, bool]] = []

    @property
    def endpoint(self) -> str:
        """Where it listens."""
        return f"https://127.0.0.1:{self._listener.getsockname()[1]}"

    def __enter__(self) -> Self:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        for each in [self._listener, *self._sockets]:
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        self._sockets.add(client)
        try:
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            with (
                suppress(OSError),
                self._context.wrap_socket(client, server_side=True) as secured,
                socket.create_connection(self._target) as server,
            ):
                self._sockets.update((secured, server))
                self.spoken.append((secured.version(), bool(secured.session_reused)))
                server.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                try:
                    _relay(secured, server)
                finally:
                    self._sockets -= {secured, server}
        finally:
            self._sockets.discard(client)
            client.close()


def _relay(client: ssl.SSLSocket, server: socket.socket) -> None:
    """Pass bytes on in both directions until one side ends; neither waits for the other."""
    client.setblocking(False)
    server.setblocking(False)
    to_client, to_server = bytearray(), bytearray()
    while True:
        reading = [*([client] if len(to_server) < _PIECE else []), *([server] if len(to_client) < _PIECE else [])]
        writing = [*([client] if to_client else []), *([server] if to_server else [])]
        if not (client in reading and client.pending()):
            select.select(reading, writing, [])
        for source, pending in ((client, to_server), (server, to_client)):
            if source in reading:
                with suppress(ssl.SSLWantReadError, ssl.SSLWantWriteError, BlockingIOError):
                    data = source.recv(_PIECE)
                    if not data:
                        _drain(to_client, client)
                        return
                    pending.extend(data)
        for target, pending in ((server, to_server), (client, to_client)):
            if pending:
                with suppress(ssl.SSLWantReadError, ssl.SSLWantWriteError, BlockingIOError):
                    del pending[: target.send(pending)]


def _drain(pending: bytearray, client: ssl.SSLSocket) -> None:
    """Send the end of the last answer."""
    client.settimeout(10)
    if pending:
        client.sendall(pending)
    with suppress(OSError, ValueError):  # ValueError: the other side has ended it
        client.unwrap()
