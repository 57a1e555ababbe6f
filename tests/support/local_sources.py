"""What files are put from in tests."""

from __future__ import annotations

import io
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest

from cloudcached import Client
from cloudcached.engine.multipart import PART_BYTES


def names_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def noise(size: int) -> bytes:
    return random.Random(size).randbytes(size)


class Pipe(io.RawIOBase):
    """A source that can be read only once, and gives less than it is asked for."""

    def __init__(self, data: bytes) -> None:
        self._file = io.BytesIO(data)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        return self._file.readinto(memoryview(buffer)[:100_001])


class OnlyRead:
    """The least that a source can be."""

    def __init__(self, data: bytes) -> None:
        self._file = io.BytesIO(data)

    def read(self, size: int) -> bytes:
        return self._file.read(size)


def uploads(client: Client) -> list[str]:
    """Return the ids of the uploads that were neither completed nor aborted."""
    config = client._config
    if config.scheme == "memory":
        store: Any = client.engine.store
        return list(getattr(store, "inner", store)._objects.uploads)
    answer = boto3.client("s3").list_multipart_uploads(Bucket=config.bucket)
    return [row["UploadId"] for row in answer.get("Uploads", ()) if row["Key"].startswith(config.prefix)]


class Sparse(io.BytesIO):
    """A source that says it is large."""

    def __init__(self, size: int) -> None:
        super().__init__(b"x")
        self._size = size

    def seek(self, offset: int, whence: int = 0) -> int:
        return self._size if whence == io.SEEK_END else super().seek(offset, whence)


class WithFiles:
    """What tests of files have at hand."""

    @pytest.fixture
    def cache(self, any_url: str, clock: Any) -> Iterator[Client]:
        """Give a client on every store in use, which has no parts of uploads left at the end."""
        client = Client(any_url, clock=clock, signing_key="a")
        yield client
        assert uploads(client) == []
        client.close()

    @pytest.fixture
    def memory(self, clock: Any) -> Client:
        """Give a client in memory."""
        return Client("memory://", clock=clock, signing_key="a")

    @pytest.fixture
    def large(self, tmp_path: Path) -> Path:
        """Give a file that goes up in three parts."""
        path = tmp_path / "large"
        path.write_bytes(noise(2 * PART_BYTES + 5))
        return path
