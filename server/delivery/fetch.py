"""What devices fetch: manifests and blobs, by digest, and only what a version names."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import zstandard

from common.blob_codec import ZSTD_LEVEL
from common.channel import clamp_chunk_bytes
from common.errors import NotFoundError
from server.registry.repository import Registry
from server.storage.port import BlobStore


def manifest_frame(manifest: bytes) -> bytes:
    """The canonical manifest as it crosses the wire: one zstd frame."""
    return zstandard.ZstdCompressor(level=ZSTD_LEVEL).compress(manifest)


class Fetching:
    """Reads for devices."""

    def __init__(self, registry: Registry, store: BlobStore) -> None:
        self._registry = registry
        self._store = store

    async def manifest(self, digest: str) -> bytes:
        """The canonical bytes of a manifest.

        Raises:
            NotFoundError: No version has it.
        """
        return await asyncio.to_thread(self._registry.get_manifest, digest)

    async def blob_size_bytes(self, digest: str) -> int:
        """Size of a blob.

        Raises:
            NotFoundError: No version names it.
        """
        if not await asyncio.to_thread(self._registry.names_blob, digest):
            raise NotFoundError(
                f"No version names the blob {digest[:12]}.", advice="Fetch the newest manifest again."
            )
        return await asyncio.to_thread(self._store.size_bytes, digest)

    def blob(self, digest: str, *, offset_bytes: int, chunk_bytes: int) -> AsyncIterator[bytes]:
        """The bytes from an offset on, in chunks that both ends accept; 0 leaves their size to the server."""
        return self._store.stream(
            digest, offset_bytes=offset_bytes, chunk_bytes=clamp_chunk_bytes(chunk_bytes)
        )
