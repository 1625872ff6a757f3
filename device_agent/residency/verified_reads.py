"""Blobs from disk, verified before anyone looks into them, and ahead of the one who needs them."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Executor, Future
from itertools import islice
from typing import Final

from common.blob_codec import decode_bytes
from common.manifest import BlobRef
from device_agent.residency.block_loader import ReadBlob

_AHEAD: Final = 4  # blobs; they are mapped files, not copies


class ReadAhead:
    """A ``VerifiedBlob`` for blobs that are asked for in a known order.

    Reading and hashing let other threads run, so they go on beside the lifting of the block before.

    Args:
        read: Digest to a blob's wire bytes.
        refs: What will be asked for, in that order; the rest may stay unasked.
        executor: Where reading is done, with a thread to spare.
    """

    def __init__(self, read: ReadBlob, refs: Sequence[BlobRef], executor: Executor) -> None:
        self._read = read
        self._executor = executor
        self._left: Iterator[BlobRef] = iter(refs)
        self._begun: deque[tuple[BlobRef, Future[bytes | memoryview]]] = deque()

    def __call__(self, ref: BlobRef) -> bytes | memoryview:
        """The next blob's bytes, verified and decompressed.

        Raises:
            IntegrityError: They are not what the reference names.
        """
        self._begun.extend(
            (item, self._executor.submit(verified, self._read, item))
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
