"""Bodies too large for memory: pieces of content become the body of an entry, and a body becomes content again.

The bytes are those of any entry (see ``format``): the key if the name is a hash, the content, the seal. With an
``encryption_key`` the content is encrypted in chunks, since a single AES-GCM message could only be verified whole.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable
from typing import Any, Protocol

from .._types import Bytes
from ..errors import EntryRefused, ValueRejected
from .encryption import CHUNK_BYTES, TAG_BYTES, ChunkCipher
from .signing import SEAL_BYTES, Seal, Signer, digests_match


class Source(Protocol):
    """The source of content: a binary file, or an object like one."""

    def read(self, size: int, /) -> Any:
        """Return up to *size* bytes, none at the end."""


class Sealing:
    """Turns the content of one entry into its payload, piece by piece, and begins its seal."""

    def __init__(self, signer: Signer, nonce: str, inner_key: bytes, cipher: ChunkCipher | None) -> None:
        self._signer = signer
        self._nonce = nonce
        self._inner_key = inner_key
        self._cipher = cipher
        self.begin()

    @property
    def is_plain(self) -> bool:
        """Whether content goes into the body unchanged."""
        return self._cipher is None

    def size(self, content: int) -> int:
        """Return the size of the payload for *content* bytes of content."""
        tags = 0 if self._cipher is None else TAG_BYTES * max(1, -(-content // CHUNK_BYTES))
        return len(self._inner_key) + content + tags

    def seal(self) -> Seal:
        """Return the seal of a payload that is still to come."""
        return self._signer.sealing(self._nonce)

    def begin(self) -> bytes:
        """Start, or start over, and return the bytes that come before the content."""
        self._rest = bytearray()
        self._chunks = 0
        return self._inner_key

    def encrypted(self, content: Bytes) -> bytes:
        """Return the payload's next bytes for the next piece of content, where content is encrypted."""
        assert self._cipher is not None  # noqa: S101 - for the type checker
        self._rest += content
        chunks = []
        while len(self._rest) > CHUNK_BYTES:  # the rest may be the last chunk
            chunks.append(self._cipher.encrypt(self._chunks, bytes(self._rest[:CHUNK_BYTES]), last=False))
            self._chunks += 1
            del self._rest[:CHUNK_BYTES]
        return b"".join(chunks)

    def finish(self) -> bytes:
        """Return the end of the payload."""
        return b"" if self._cipher is None else self._cipher.encrypt(self._chunks, bytes(self._rest), last=True)


class SealedStream(io.RawIOBase):
    """The body of an entry, sealed while it is read from a source.

    size: bytes of content, ``None`` if unknown. start: where the source can be read again from, and so this stream;
    ``None`` if it cannot.
    """

    def __init__(self, source: Source, sealing: Sealing, *, size: int | None, start: int | None = None) -> None:
        super().__init__()
        self._source = source
        self._sealing = sealing
        self._start = start
        self._content = size
        self._begin()

    def _begin(self) -> None:
        #: Bytes of content read so far.
        self.taken = 0
        self._pending = memoryview(self._sealing.begin())
        self._ended = False
        self._at = 0
        self._seal = self._sealing.seal()
        self._sealed = False

    def __len__(self) -> int:
        if self._content is None:
            raise TypeError("the size of this source is unknown")
        return self._sealing.size(self._content) + SEAL_BYTES

    def readable(self) -> bool:
        """Return True: it can be read."""
        return True

    def seekable(self) -> bool:
        """Whether it can be read again."""
        return self._start is not None

    def tell(self) -> int:
        """Return the position in the body."""
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Go back to the beginning, or return the position of the end: senders need nothing else."""
        if whence == io.SEEK_END:
            self._at = len(self)
        elif (offset, whence) == (0, io.SEEK_SET) and self._start is not None:
            self._source.seek(self._start)  # type: ignore[attr-defined]
            self._begin()
        elif offset != self._at or whence != io.SEEK_SET:
            raise io.UnsupportedOperation("a sealed stream can only go back to its beginning")
        return self._at

    def readinto(self, buffer: Any) -> int:
        """Read the next piece of the body into *buffer*; return how many bytes came."""
        view = memoryview(buffer).cast("B")
        if not view:
            return 0
        count = 0 if self._sealed else self._read_payload(view)
        if count:
            self._seal.update(view[:count])
        else:
            if not self._sealed:
                self._pending = memoryview(self._seal.digest())
                self._sealed = True
            count = self._give(view)
        self._at += count
        return count

    def _read_payload(self, view: memoryview) -> int:
        """Read the next piece of the payload into *view*; return how many bytes came, 0 at the end."""
        while not self._pending and not self._ended:
            if self._sealing.is_plain:
                count = self._take(view)
                if count:
                    return count
            else:
                piece = bytearray(CHUNK_BYTES)
                count = self._take(memoryview(piece))
                self._pending = memoryview(self._sealing.encrypted(memoryview(piece)[:count]))
            if not count:
                self._finish()
        return self._give(view)

    def _finish(self) -> None:
        if self._content is not None and self.taken != self._content:
            raise ValueRejected(
                f"the file ended after {self.taken:,} of {self._content:,} bytes: was it changed while it was read?"
            )
        self._pending = memoryview(self._sealing.finish())
        self._ended = True

    def _give(self, view: memoryview) -> int:
        ready = self._pending[: len(view)]
        view[: len(ready)] = ready
        self._pending = self._pending[len(ready) :]
        return len(ready)

    def _take(self, view: memoryview) -> int:
        if self._content is not None:
            view = view[: self._content - self.taken]  # of a growing file, only the bytes that were there at the start
        count = read_into(self._source, view) if view else 0
        self.taken += count
        return count


def read_into(source: Source, view: memoryview) -> int:
    """Read once from *source* into *view*; return how many bytes came.

    Raises ``ValueRejected`` if *source* is not a binary file in blocking mode.
    """
    readinto = getattr(source, "readinto", None)
    if readinto is not None:
        count = readinto(view)
        if isinstance(count, int):
            return count
        data: Any = count
    else:
        data = source.read(len(view))
        if isinstance(data, (bytes, bytearray, memoryview)):
            view[: len(data)] = data
            return len(data)
    raise ValueRejected(f"the source gives {type(data).__name__}, not bytes: open it in binary, blocking mode")


class Unsealing:
    """Turns the body of one entry into its content, piece by piece. Do not trust any of it before ``finish``."""

    def __init__(self, signer: Signer, nonce: str, inner_key: bytes, cipher: ChunkCipher | None, size: int) -> None:
        #: The bytes of the key that are still to come.
        self._inner_key = inner_key
        self._cipher = cipher
        self._left = payload = size - SEAL_BYTES
        self._digest = signer.sealing(nonce)
        chunks = 0 if cipher is None else -(-(payload - len(inner_key)) // (CHUNK_BYTES + TAG_BYTES))
        #: Bytes of content.
        self.content = max(0, payload - len(inner_key) - TAG_BYTES * chunks)
        self._rest = bytearray()
        self._seal = b""
        self._chunks = 0

    def feed(self, pieces: Iterable[Bytes], take: Callable[[Bytes], object]) -> None:
        """Pass the content of the next pieces of the body to *take*. Raises ``EntryRefused``."""
        for piece in pieces:
            self._feed(memoryview(piece), take)

    def _feed(self, view: memoryview, take: Callable[[Bytes], object]) -> None:
        payload, seal = view[: self._left], view[self._left :]
        self._left -= len(payload)
        self._digest.update(payload)
        self._seal += bytes(seal)
        if self._inner_key:
            payload = self._without_key(payload)
        if self._cipher is None:
            if payload:
                take(payload)
            return
        self._rest += payload
        while len(self._rest) > CHUNK_BYTES + TAG_BYTES:
            self._decrypt(bytes(self._rest[: CHUNK_BYTES + TAG_BYTES]), take, last=False)
            del self._rest[: CHUNK_BYTES + TAG_BYTES]

    def finish(self, take: Callable[[Bytes], object]) -> None:
        """Pass the last content to *take*. Raises ``EntryRefused`` unless the seal is valid."""
        if self._left or not digests_match(self._digest.digest(), self._seal):
            raise EntryRefused("seal", "the body was changed")
        if self._inner_key:
            raise EntryRefused("key", "the entry belongs to another key")
        if self._cipher is not None:
            self._decrypt(bytes(self._rest), take, last=True)

    def _without_key(self, payload: memoryview) -> memoryview:
        count = min(len(payload), len(self._inner_key))
        if payload[:count] != self._inner_key[:count]:
            raise EntryRefused("key", "the entry belongs to another key")
        self._inner_key = self._inner_key[count:]
        return payload[count:]

    def _decrypt(self, chunk: bytes, take: Callable[[Bytes], object], *, last: bool) -> None:
        assert self._cipher is not None  # noqa: S101 - for the type checker
        take(self._cipher.decrypt(self._chunks, chunk, last=last))
        self._chunks += 1
