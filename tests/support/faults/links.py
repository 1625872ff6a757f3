"""Servers that send something else than what they should, as wrappers of a sound link."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from dataclasses import replace

import zstandard

from device_agent.link.server import Chunk, DeltaOffer, ServerLink, Wanted
from device_agent.store.records import Broker


class SoundLink:
    """Hands on what another link gives; faults override what they spoil."""

    def __init__(self, link: ServerLink) -> None:
        self._link = link

    async def enrol(self, device_id: str, enrolment_key: bytes) -> Broker:
        return await self._link.enrol(device_id, enrolment_key)

    async def manifest(self, digest: str) -> bytes:
        return await self._link.manifest(digest)

    async def blobs(self, wanted: Sequence[Wanted]) -> AsyncGenerator[Chunk, None]:
        async with aclosing(self._link.blobs(wanted)) as chunks:
            async for chunk in chunks:
                yield self.spoilt(wanted[chunk.index].digest, chunk)

    async def offer_deltas(
        self, wanted: str, held: str, blobs_per_block: Sequence[int], present_per_block: Sequence[int]
    ) -> Sequence[DeltaOffer]:
        return await self._link.offer_deltas(wanted, held, blobs_per_block, present_per_block)

    def spoilt(self, digest: str, chunk: Chunk) -> Chunk:  # noqa: ARG002  # overridden
        return chunk


class WrongBytes(SoundLink):
    """One bit of a blob is flipped, so many times; of a blob or, named by its digest, of a manifest."""

    def __init__(self, link: ServerLink, times: Counter[str]) -> None:
        super().__init__(link)
        self._times = times

    async def manifest(self, digest: str) -> bytes:
        frame = await super().manifest(digest)
        return self._flipped(digest, frame)

    def spoilt(self, digest: str, chunk: Chunk) -> Chunk:
        return replace(chunk, data=self._flipped(digest, chunk.data)) if chunk.end else chunk

    def _flipped(self, digest: str, data: bytes) -> bytes:
        if not data or not self._times[digest]:
            return data
        self._times[digest] -= 1
        return data[:-1] + bytes([data[-1] ^ 1])


class TooManyBytes(SoundLink):
    """A blob is longer than its manifest says, every time."""

    def __init__(self, link: ServerLink, digest: str, surplus: int) -> None:
        super().__init__(link)
        self._digest = digest
        self._surplus = surplus

    def spoilt(self, digest: str, chunk: Chunk) -> Chunk:
        if digest != self._digest or not chunk.end:
            return chunk
        return replace(chunk, data=chunk.data + bytes(self._surplus))


class Bomb(SoundLink):
    """The manifest is a frame of a few KiB that yields a GiB."""

    async def manifest(self, digest: str) -> bytes:  # noqa: ARG002  # whichever it is
        compressor = zstandard.ZstdCompressor(level=3).compressobj()
        mebibyte = bytes(1 << 20)
        return b"".join(compressor.compress(mebibyte) for _ in range(1024)) + compressor.flush()


class Recording(SoundLink):
    """Remembers what was asked for.

    Attributes:
        asked: Digest to how many times it was.
        asked_again: Digests that were asked for although they were whole already.
    """

    def __init__(self, link: ServerLink, has: Callable[[str], bool]) -> None:
        super().__init__(link)
        self._has = has
        self.asked: Counter[str] = Counter()
        self.asked_again: list[str] = []

    async def blobs(self, wanted: Sequence[Wanted]) -> AsyncGenerator[Chunk, None]:
        self.asked.update(one.digest for one in wanted)
        self.asked_again += [one.digest for one in wanted if self._has(one.digest)]
        async with aclosing(super().blobs(wanted)) as chunks:
            async for chunk in chunks:
                yield chunk
