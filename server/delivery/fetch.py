"""What devices fetch: manifests and blobs, by digest, and only what a version names."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Final

import zstandard

from common.blob_codec import ZSTD_LEVEL
from common.errors import Error, InvalidInputError, LinkError, NotFoundError
from server.delivery.stream.pieces import Place
from server.registry.repository import Registry
from server.storage.port import BlobSlice, BlobStore

_READERS: Final = 16  # reads at once; more streams take turns, batch by batch


def manifest_frame(manifest: bytes) -> bytes:
    """The canonical manifest as it crosses the wire: one zstd frame."""
    return zstandard.ZstdCompressor(level=ZSTD_LEVEL).compress(manifest)


class Fetching:
    """Reads for devices. Implements ``Shelf``."""

    def __init__(self, registry: Registry, store: BlobStore) -> None:
        self._registry = registry
        self._store = store
        self._readers = ThreadPoolExecutor(_READERS, thread_name_prefix="blob-reader")

    async def manifest(self, digest: str) -> bytes:
        """The canonical bytes of a manifest.

        Raises:
            NotFoundError: No version has it.
        """
        return await asyncio.to_thread(self._registry.get_manifest, digest)

    async def offered(self, digests: Collection[str]) -> frozenset[str]:
        """Those of the digests that may be handed out: the one place that says so."""
        return await asyncio.to_thread(self._registry.named_among, digests)

    async def read(self, places: Sequence[Place], *, limit_bytes: int) -> list[BlobSlice | Error]:
        """What is at the first places, in one turn of a thread however many they are."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._readers, self._slices, places, limit_bytes)

    def read_at_once(self, places: Sequence[Place], *, limit_bytes: int) -> list[BlobSlice | Error]:
        """What is at the first places, as far as the store has it in memory."""
        found: list[BlobSlice | Error] = []
        left_bytes = limit_bytes
        for place in places:
            one = self._store.slice_at_once(
                place.digest, offset_bytes=place.offset_bytes, limit_bytes=left_bytes
            )
            if one is None:
                break
            found.append(one)
            left_bytes -= len(one.data)
            if left_bytes <= 0:
                break
        return found

    def _slices(self, places: Sequence[Place], limit_bytes: int) -> list[BlobSlice | Error]:
        found: list[BlobSlice | Error] = []
        left_bytes = limit_bytes
        for place in places:
            one = self._slice(place, left_bytes)
            found.append(one)
            left_bytes -= len(one.data) if isinstance(one, BlobSlice) else 0
            if left_bytes <= 0:
                break
        return found

    def _slice(self, place: Place, limit_bytes: int) -> BlobSlice | Error:
        try:
            return self._store.slice(place.digest, offset_bytes=place.offset_bytes, limit_bytes=limit_bytes)
        except (NotFoundError, InvalidInputError) as error:
            # Of these, a setting of the store's that is wrong says nothing about the blob.
            if type(error) in {NotFoundError, InvalidInputError}:
                return error
            raise LinkError(f"The blob store cannot be read: {error.message}") from error
