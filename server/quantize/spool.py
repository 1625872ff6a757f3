"""Blobs of a version under way, on disk, so that its self-test can run on what will be sent."""

from __future__ import annotations

import contextlib
import errno
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from common.errors import CapacityError
from common.manifest import BlobRef


class Spool:
    """Keeps each blob once; nothing of it stays in memory."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._places: dict[str, tuple[int, int]] = {}
        self._end_bytes = 0

    def put(self, ref: BlobRef, data: bytes) -> None:
        """Keep a blob.

        Raises:
            CapacityError: The disk is full.
        """
        if ref.digest in self._places:
            return
        try:
            written = os.pwrite(self._file.fileno(), data, self._end_bytes)
        except OSError as error:
            if error.errno not in {errno.ENOSPC, errno.EDQUOT}:
                raise
            written = 0
        if written < len(data):
            raise CapacityError(
                "The server's disk has no room for the blobs of this push.",
                needed_bytes=len(data),
                advice="Delete versions and run `nestfleet gc`, or give the server more disk.",
            )
        self._places[ref.digest] = (self._end_bytes, len(data))
        self._end_bytes += len(data)

    def read(self, digest: str) -> bytes:
        """A blob that was put."""
        start, size_bytes = self._places[digest]
        return os.pread(self._file.fileno(), size_bytes, start)


@contextlib.contextmanager
def open_spool(folder: Path) -> Iterator[Spool]:
    """A spool in a folder; nothing is left of it afterwards."""
    with tempfile.TemporaryFile(dir=folder, buffering=0) as file:
        yield Spool(file)
