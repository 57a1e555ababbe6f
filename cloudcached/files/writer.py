"""The file that ``Client.open(key, "wb")`` returns."""

from __future__ import annotations

import io
from collections.abc import Callable
from types import TracebackType
from typing import Any, BinaryIO


class Writer(io.BufferedIOBase):
    """A file whose content is stored when it is closed; until then it is in a temporary file.

    store: stores the content of a file; returns whether it did.
    """

    def __init__(self, store: Callable[[BinaryIO], bool]) -> None:
        self._store = store
        import tempfile  # noqa: PLC0415 - its import takes time, and few processes move files

        self._file: Any = tempfile.TemporaryFile()  # noqa: SIM115 - closed with this one
        #: Whether the content was stored.
        self.stored = False

    def writable(self) -> bool:
        """Return True."""
        return True

    def write(self, data: Any) -> int:
        """Write bytes; return how many were written."""
        if self.closed:
            raise ValueError("write to a closed file")
        return int(self._file.write(data))

    def tell(self) -> int:
        """Return the number of bytes written."""
        return int(self._file.tell())

    def close(self) -> None:
        """Store the content. Raises what ``put_file`` does; the file is closed all the same."""
        if self.closed:
            return
        try:
            self._file.seek(0)
            self.stored = self._store(self._file)
        finally:
            self.abort()

    def abort(self) -> None:
        """Close the file and store nothing."""
        self._file.close()
        super().close()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self.close()
        else:
            self.abort()

    def __del__(self) -> None:
        self.abort()  # io's own __del__ calls close(), which would store half a file that was never closed
