"""One stream of blobs into the store: each from where the last try ended, held to its size and a rate."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Callable, Collection, Mapping, Sequence
from typing import Final

from common.errors import CapacityError, Error, IntegrityError, InvalidInputError, LinkError, NotFoundError
from common.manifest import BlobRef
from common.rate_floor import RateFloor
from device_agent.blocking import run_blocking
from device_agent.link.server import Chunk, ServerLink, Wanted
from device_agent.store.store import Store
from device_agent.update.landing import Landing
from device_agent.update.pacing import Pacer

# While it is waited for, a peer must send this much on average, after a first allowance.
_LEAST_BYTES_PER_SECOND: Final = 2048
_ALLOWANCE_SECONDS: Final = 120.0


class Transfer:
    """To be run once.

    Args:
        server: Where blobs come from.
        store: Where they go.
        pacer: Holds the rate down, and may end the transfer by an error of its own.
        floor: How slow the server may be.
        on_progress: Called when more is on the disk.
    """

    def __init__(
        self,
        server: ServerLink,
        store: Store,
        *,
        pacer: Pacer,
        on_progress: Callable[[], None],
        floor: RateFloor | None = None,
    ) -> None:
        self._server = server
        self._store = store
        self._pacer = pacer
        self._floor = floor or RateFloor(_LEAST_BYTES_PER_SECOND, _ALLOWANCE_SECONDS)
        self._landing = Landing(store, on_progress)
        self._failed: dict[str, Error] = {}

    async def run(
        self, refs: Sequence[BlobRef], here: Mapping[str, int], *, vital: Collection[str] = ()
    ) -> dict[str, Error]:
        """Each blob is in the store or named as failed; or the stream was left before that.

        It is left when a blob does not end where it should, and when one that is vital cannot be had.

        Args:
            refs: The blobs, in the order of fetching.
            here: Digest to the bytes of each that the store has.
            vital: Digests of blobs without which the others are of no use.

        Returns:
            Digest to why a blob could not be had this time.

        Raises:
            LinkError: The server is away or too slow; what came so far stays.
            CapacityError: The disk does not take it.
            Error: What the pacer says; what came so far stays.
        """
        begun = [ref for ref in refs if here[ref.digest] < ref.size_bytes]
        try:
            for ref in refs:
                if here[ref.digest] >= ref.size_bytes:
                    await self._landing.complete(ref)
            if begun:
                await self._receive(begun, [here[ref.digest] for ref in begun], vital)
        finally:
            await self._landing.settle()
        return self.failed

    @property
    def failed(self) -> dict[str, Error]:
        """Digest to why a blob could not be had; also when the stream broke."""
        return {**self._failed, **self._landing.wrong}

    async def _receive(self, refs: Sequence[BlobRef], sizes: list[int], vital: Collection[str]) -> None:
        wanted = [Wanted(ref.digest, size) for ref, size in zip(refs, sizes, strict=True)]
        ended = 0
        async with contextlib.aclosing(self._server.blobs(wanted)) as chunks:
            while ended < len(refs):
                chunk = await self._next(chunks)
                if chunk is None:
                    raise LinkError("The server ended the stream before the last blob.")
                ref = refs[chunk.index]
                surplus_bytes = await self._take(ref, chunk, sizes)
                await self._pacer.received(len(chunk.data))
                if surplus_bytes:
                    return
                if chunk.end:
                    ended += 1
                    self._note_end(ref, chunk, sizes[chunk.index])
                    if ref.digest in vital and isinstance(self._failed.get(ref.digest), NotFoundError):
                        return

    async def _next(self, chunks: AsyncGenerator[Chunk, None]) -> Chunk | None:
        """Time is counted only while the server is waited for, not the disk or the pacer."""
        clock = asyncio.get_running_loop().time
        began = clock()
        try:
            async with asyncio.timeout(self._floor.left_seconds):
                chunk = await anext(chunks, None)
        except TimeoutError as error:
            raise LinkError("The server sends too slowly to go on with it.") from error
        self._floor.waited(clock() - began)
        if chunk is not None:
            self._floor.received(len(chunk.data))
        return chunk

    async def _take(self, ref: BlobRef, chunk: Chunk, sizes: list[int]) -> int:
        """What fits is on its way to the disk; how many bytes were too many."""
        here = sizes[chunk.index]
        if chunk.data and chunk.offset_bytes != here:
            raise LinkError(f"The server sent byte {chunk.offset_bytes} of a blob, not {here}.")
        fitting = chunk.data[: ref.size_bytes - here]
        surplus_bytes = len(chunk.data) - len(fitting)
        if surplus_bytes:
            with contextlib.suppress(CapacityError):
                await run_blocking(lambda: self._store.waste(ref.digest, surplus_bytes))
        if fitting:
            sizes[chunk.index] += len(fitting)
            await self._landing.take(ref.digest, fitting)
            if sizes[chunk.index] == ref.size_bytes:
                await self._landing.complete(ref)
        return surplus_bytes

    def _note_end(self, ref: BlobRef, chunk: Chunk, size_bytes: int) -> None:
        error = chunk.error
        if error is None and size_bytes < ref.size_bytes:
            error = IntegrityError(
                f"Blob {ref.digest[:12]} ended after {size_bytes} of {ref.size_bytes} bytes.",
                expected=str(ref.size_bytes),
                actual=str(size_bytes),
            )
        if isinstance(error, InvalidInputError):
            # The blob is shorter at the server than its manifest says.
            error = IntegrityError(error.message, advice=error.advice)
        if isinstance(error, LinkError):
            raise error
        if error is not None:
            self._failed[ref.digest] = error
