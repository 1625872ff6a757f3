"""A push from its announcement to its version: receive, quantize, store the blobs, and the version last.

Whatever ends it early leaves no version; blobs without one go with the next garbage collection.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeVar

from common.errors import CapacityError, LinkError
from server.delivery.build import Building
from server.delivery.order import Part, PushOrder
from server.delivery.progress import Progress, ProgressFeed
from server.delivery.receive import Receiving
from server.delivery.workspace import Workspace
from server.registry.records import VersionRecord

_REPORTS_WHILE_RECEIVING: Final = 100

Item = TypeVar("Item")
Chunks = AsyncIterator[tuple[Part, bytes]]


@dataclass(frozen=True, slots=True)
class PushLimits:
    """What the server takes.

    Attributes:
        part_bytes: Largest size of each part.
        pushes: How many may be under way at once.
        idle_seconds: How long a push may send nothing.
    """

    part_bytes: Mapping[Part, int]
    pushes: int
    idle_seconds: float


class Publishing:
    """Takes pushes; several are received at once, one after the other is quantized."""

    def __init__(self, building: Building, workspace: Workspace, limits: PushLimits) -> None:
        self._building = building
        self._workspace = workspace
        self._limits = limits
        self._under_way = 0
        self._feeds: set[ProgressFeed] = set()
        # A pool of its own: quantizing for minutes must not take the threads that answer everybody else.
        self._pool = ThreadPoolExecutor(max_workers=1, thread_name_prefix="quantize")

    def cut(self) -> None:
        """Work on pushes ends at its next step; none is waited for."""
        for feed in self._feeds:
            feed.stop()

    def close(self) -> None:
        """No push is worked on any more."""
        self._pool.shutdown(cancel_futures=True)

    async def publish(
        self, order: PushOrder, chunks: Chunks
    ) -> AsyncGenerator[Progress | VersionRecord, None]:
        """Progress, and the version at last.

        Args:
            order: What was announced.
            chunks: The parts in order.

        Raises:
            InvalidInputError: The order, a part or the model is not as it should be.
            CapacityError: A part is too large, the disk is too small, or too many pushes are under way.
            LinkError: The client fell silent.
        """
        order.check(self._limits.part_bytes)
        self._building.check(order)
        with self._slot(), self._workspace.folder(order.total_bytes + _blobs_bytes(order)) as folder:
            async with contextlib.aclosing(self._receive(order, chunks, folder)) as receiving:
                async for progress in receiving:
                    yield progress
            async with contextlib.aclosing(self._build(order, folder)) as building:
                async for event in building:
                    yield event

    @contextlib.contextmanager
    def _slot(self) -> Iterator[None]:
        if self._under_way >= self._limits.pushes:
            raise CapacityError(
                f"{self._under_way} pushes are under way; the server takes no more.",
                advice="Push again soon.",
            )
        self._under_way += 1
        try:
            yield
        finally:
            self._under_way -= 1

    async def _receive(
        self, order: PushOrder, chunks: Chunks, folder: Path
    ) -> AsyncGenerator[Progress, None]:
        step_bytes = max(order.total_bytes // _REPORTS_WHILE_RECEIVING, 1)
        reported_bytes = 0
        yield Progress("receive", 0, order.total_bytes)
        with Receiving(order, folder) as receiving:
            while (chunk := await self._next(chunks)) is not None:
                await asyncio.to_thread(receiving.write, *chunk)
                if receiving.done_bytes - reported_bytes >= step_bytes:
                    reported_bytes = receiving.done_bytes
                    yield Progress("receive", reported_bytes, order.total_bytes)
            receiving.finish()

    async def _next(self, chunks: Chunks) -> tuple[Part, bytes] | None:
        try:
            return await asyncio.wait_for(anext(chunks, None), self._limits.idle_seconds)
        except TimeoutError as error:
            raise LinkError(
                f"The push sent nothing for {self._limits.idle_seconds:.0f} seconds.", advice="Push again."
            ) from error

    async def _build(self, order: PushOrder, folder: Path) -> AsyncGenerator[Progress | VersionRecord, None]:
        feed = ProgressFeed()
        self._feeds.add(feed)
        job = self._pool.submit(self._building.build, order, folder, feed.report)
        work = asyncio.wrap_future(job)
        try:
            async for progress in feed.until_done(work):
                yield progress
            version = await work
            yield Progress("store", 1, 1)
            yield version
        finally:
            feed.stop()
            self._feeds.discard(feed)
            if not job.cancel():
                await asyncio.gather(work, return_exceptions=True)


def _blobs_bytes(order: PushOrder) -> int:
    """A generous guess at what the blobs will take, in the folder while they are made and in the store."""
    return order.size_bytes[Part.WEIGHTS]
