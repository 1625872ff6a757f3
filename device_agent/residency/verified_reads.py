"""Blobs from disk, verified before anyone looks into them, and ahead of the one who needs them."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, wait
from itertools import islice
from typing import Final, Self

from common.blob_codec import decode_bytes
from common.manifest import BlobRef
from device_agent.residency.background import READING
from device_agent.residency.block_loader import ReadBlob

_AHEAD: Final = 4  # blobs; they are mapped files, not copies


class ReadAhead:
    """A ``VerifiedBlob`` for blobs that are asked for in a known order, to be used as a context.

    Reading and hashing let other threads run, so they go on beside the lifting of the block before.

    Args:
        read: Digest to a blob's wire bytes.
        refs: What will be asked for, in that order; the rest may stay unasked.
    """

    def __init__(self, read: ReadBlob, refs: Sequence[BlobRef]) -> None:
        self._read = read
        self._left: Iterator[BlobRef] = iter(refs)
        self._begun: deque[tuple[BlobRef, Future[bytes | memoryview]]] = deque()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Nothing is read any more."""
        futures = [future for _, future in self._begun]
        for future in futures:
            future.cancel()
        wait(futures)

    def __call__(self, ref: BlobRef) -> bytes | memoryview:
        """The next blob's bytes, verified and decompressed.

        Raises:
            IntegrityError: They are not what the reference names.
        """
        self._begun.extend(
            (item, READING.submit(verified, self._read, item))
            for item in islice(self._left, _AHEAD - len(self._begun))
        )
        expected, data = self._begun.popleft()
        if expected != ref:
            raise ValueError(f"blob {ref.digest[:12]} is not the next one")
        return data.result()


def verified(read: ReadBlob, ref: BlobRef) -> bytes | memoryview:
    """A blob's bytes, verified and decompressed.

    Raises:
        IntegrityError: They are not what the reference names.
    """
    return decode_bytes(read(ref.digest), ref)
