"""Blobs read, verified and opened ahead of the one who needs them."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, wait
from itertools import islice
from typing import Final, Self

from common.manifest import Block
from device_agent.residency.background import READING
from device_agent.residency.block_loader import OpenBlob, Opened
from device_agent.residency.courtesy import REQUESTS

_AHEAD: Final = 4  # blobs; they are mapped files, not copies


class ReadAhead:
    """An ``OpenBlob`` for blobs that are asked for in a known order, to be used as a context.

    Reading and hashing let other threads run, so they go on beside the lifting of the block before.

    Args:
        opened: Opens one.
        wanted: What will be asked for, in that order; the rest may stay unasked.
    """

    def __init__(self, opened: OpenBlob, wanted: Sequence[tuple[Block, int]]) -> None:
        self._opened = opened
        self._left: Iterator[tuple[Block, int]] = iter(wanted)
        self._begun: deque[tuple[tuple[Block, int], Future[Opened]]] = deque()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Nothing is read any more."""
        futures = [future for _, future in self._begun]
        for future in futures:
            future.cancel()
        wait(futures)

    def _open(self, block: Block, index: int) -> Opened:
        REQUESTS.begin()
        opened = self._opened(block, index)
        REQUESTS.give_way()
        return opened

    def __call__(self, block: Block, index: int) -> Opened:
        """The next blob, opened.

        Raises:
            IntegrityError: It is not what the manifest says.
        """
        self._begun.extend(
            ((item, at), READING.submit(self._open, item, at))
            for item, at in islice(self._left, _AHEAD - len(self._begun))
        )
        (expected, at), opened = self._begun.popleft()
        if expected is not block or at != index:
            raise ValueError(f"blob {block.blobs[index].digest[:12]} is not the next one")
        return opened.result()
