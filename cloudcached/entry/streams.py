"""Bodies too large for memory: content in pieces becomes the body of an entry, and a body content again.

The bytes are those of any entry (see ``entry``): the key where the name is a hash, the content, the seal. With an
``encryption_key`` the content is encrypted in chunks, since a single AES-GCM message could only be verified whole.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable
from hashlib import sha256
from typing import Any, Protocol

from .._types import Bytes
from ..errors import EntryRefused, ValueRejected
from .encryption import CHUNK_BYTES, TAG_BYTES, ChunkCipher
from .signing import SEAL_BYTES, Seal, Signer, same


class Source(Protocol):
    """What content is read from: a binary file, or something like one."""

    def read(self, size: int, /) -> Any:
        """Return up to so many bytes, none at the end."""


class Sealing:
    """Makes the payload of one entry from its content, piece by piece, and has its seal."""

    def __init__(self, signer: Signer, nonce: str, before: bytes, cipher: ChunkCipher | None) -> None:
        self._signer = signer
        self._nonce = nonce
        self._before = before
        self._cipher = cipher
        self.begin()

    @property
    def is_plain(self) -> bool:
        """Tell whether content goes into the body as it is."""
        return self._cipher is None

    def size(self, content: int) -> int:
        """Return the bytes of a payload with so many bytes of content."""
        tags = 0 if self._cipher is None else TAG_BYTES * max(1, -(-content // CHUNK_BYTES))
        return len(self._before) + content + tags

    def seal(self, size: int) -> Seal:
        """Return what becomes the seal of a payload of *size* bytes."""
        return self._signer.sealing(self._nonce, size)

    def begin(self) -> bytes:
        """Begin, or begin anew, and return what stands before the content."""
        self._rest = bytearray()
        self._chunks = 0
        return self._before

    def encrypted(self, content: Bytes) -> bytes:
        """Return what the payload gets for the next piece of content, where that is not plain."""
        assert self._cipher is not None  # noqa: S101 - for the type checker
        self._rest += content
        chunks = []
        while len(self._rest) > CHUNK_BYTES:  # what may be the last one stays
            chunks.append(self._cipher.encrypt(self._chunks, bytes(self._rest[:CHUNK_BYTES]), last=False))
            self._chunks += 1
            del self._rest[:CHUNK_BYTES]
        return b"".join(chunks)

    def finish(self) -> bytes:
        """Return the end of the payload."""
        return b"" if self._cipher is None else self._cipher.encrypt(self._chunks, bytes(self._rest), last=True)


class SealedStream(io.RawIOBase):
    """The body of an entry, sealed while it is read from a source.

    size: bytes of content, ``None`` for unknown. Where the source can be read again from *start*, so can this.
    """

    def __init__(self, source: Source, sealing: Sealing, *, size: int | None, start: int | None = None) -> None:
        super().__init__()
        self._source = source
        self._sealing = sealing
        self._start = start
        self._content = size
        self._begin()

    def _begin(self) -> None:
        #: Bytes of content that were read since the beginning.
        self.taken = 0
        self._pending = memoryview(self._sealing.begin())
        self._ended = False
        self._at = 0
        self._seal: Seal | None = None
        self._sealed = False

    def __len__(self) -> int:
        return self._payload() + SEAL_BYTES

    def _payload(self) -> int:
        if self._content is None:
            raise TypeError("the size of this source is not known")
        return self._sealing.size(self._content)

    def readable(self) -> bool:
        """Say that it can be read."""
        return True

    def seekable(self) -> bool:
        """Tell whether it can be read again."""
        return self._start is not None

    def tell(self) -> int:
        """Return the position in the body."""
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Go back to the beginning, or say where the end is: all that a sender needs."""
        if whence == io.SEEK_END:
            self._at = len(self)
        elif (offset, whence) == (0, io.SEEK_SET) and self._start is not None:
            self._source.seek(self._start)  # type: ignore[attr-defined]
            self._begin()
        elif offset != self._at or whence != io.SEEK_SET:
            raise io.UnsupportedOperation("a sealed stream goes back to its beginning only")
        return self._at

    def readinto(self, buffer: Any) -> int:
        """Give the next piece of a body whose size is known."""
        view = memoryview(buffer).cast("B")
        if not view:
            return 0
        if self._seal is None:
            self._seal = self.seal(self._payload())
        if not self._sealed:
            if count := self.read_payload(view):
                self._seal.update(view[:count])
                self._at += count
                return count
            self._pending = memoryview(self._seal.digest())
            self._sealed = True
        count = self._give(view)
        self._at += count
        return count

    def seal(self, size: int) -> Seal:
        """Return what becomes the seal of a payload of *size* bytes."""
        return self._sealing.seal(size)

    def read_payload(self, view: memoryview) -> int:
        """Read the next piece of what the seal is over; return how many bytes came, 0 at the end."""
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
                f"the file ended after {self.taken:,} of {self._content:,} bytes: did it change meanwhile?"
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
            view = view[: self._content - self.taken]  # of a file that grows, what was there
        count = read_into(self._source, view) if view else 0
        self.taken += count
        return count


def read_into(source: Source, view: memoryview) -> int:
    """Read once from a source; return how many bytes came. Raises ``ValueRejected`` for what is no binary file."""
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
    """Makes content of the body of one entry, piece by piece. Nothing of it may be believed before ``finish``."""

    def __init__(self, signer: Signer, nonce: str, before: bytes, cipher: ChunkCipher | None, size: int) -> None:
        self._before = before
        self._cipher = cipher
        self._left = self._payload = payload = size - SEAL_BYTES
        self._digest = signer.sealing(nonce, payload)
        chunks = 0 if cipher is None else -(-(payload - len(before)) // (CHUNK_BYTES + TAG_BYTES))
        #: Bytes of content.
        self.content = max(0, payload - len(before) - TAG_BYTES * chunks)
        self._rest = bytearray()
        self._seal = b""
        self._chunks = 0
        #: Whether content stands in the body as it is.
        self.is_plain = cipher is None
        self._offset = len(before)

    def content_at(self, start: int, pieces: Iterable[Bytes]) -> tuple[int, list[Bytes]]:
        """Return where the content in *pieces* of a plain body from *start* on belongs, and the content."""
        at, found = start - self._offset, []
        for piece in pieces:
            found.append(memoryview(piece)[max(0, -at) :] if at < 0 else piece)
            at += len(piece)
        return max(0, start - self._offset), found

    def leaf(self, start: int, pieces: Iterable[Bytes]) -> bytes | None:
        """Return the hash that ``feed`` takes for the leaf that begins at *start* of the body; any thread may ask."""
        left = self._payload - start
        if not self._digest.in_leaves:
            return None
        if left <= 0:
            return b""  # nothing but the seal, or a part of it
        digest = sha256()
        for piece in pieces:
            digest.update(memoryview(piece)[: max(0, left)])
            left -= len(piece)
        return digest.digest()

    def feed(self, pieces: Iterable[Bytes], take: Callable[[Bytes], object], leaf: bytes | None = None) -> None:
        """Give the content of the next pieces of the body to *take*; *leaf*: their hash, where it is known.

        Raises ``EntryRefused``.
        """
        if leaf is not None:
            self._digest.add(leaf)
        for piece in pieces:
            self._feed(memoryview(piece), take, hashed=leaf is not None)

    def _feed(self, view: memoryview, take: Callable[[Bytes], object], *, hashed: bool) -> None:
        payload, seal = view[: self._left], view[self._left :]
        self._left -= len(payload)
        if not hashed:
            self._digest.update(payload)
        self._seal += bytes(seal)
        if self._before:
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
        """Give the last content to *take*. Raises ``EntryRefused`` unless the seal holds."""
        if self._left or not same(self._digest.digest(), self._seal):
            raise EntryRefused("seal", "the body was changed")
        if self._before:
            raise EntryRefused("key", "the entry belongs to another key")
        if self._cipher is not None:
            self._decrypt(bytes(self._rest), take, last=True)

    def _without_key(self, payload: memoryview) -> memoryview:
        count = min(len(payload), len(self._before))
        if payload[:count] != self._before[:count]:
            raise EntryRefused("key", "the entry belongs to another key")
        self._before = self._before[count:]
        return payload[count:]

    def _decrypt(self, chunk: bytes, take: Callable[[Bytes], object], *, last: bool) -> None:
        assert self._cipher is not None  # noqa: S101 - for the type checker
        take(self._cipher.decrypt(self._chunks, chunk, last=last))
        self._chunks += 1
