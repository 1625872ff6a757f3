"""The files that all ways serve: blobs of a version in a registry and a folder, as a server keeps them."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from common.digest import sha256_hex
from common.manifest import BlobRef, Block, Manifest, TensorPart
from common.sizes import SizeReport
from server.registry.records import NewVersion
from server.registry.repository import Registry
from server.storage.folder import FolderBlobStore
from server.storage.objects import blob_path

_BLOCK_BYTES: Final = (1024 * 1024, 512 * 1024, 512 * 1024)  # base of 4 bits a weight, two shards of 2
_SPARE: Final = 2  # graph and self-test


@dataclass(frozen=True, slots=True)
class Files:
    """What is served.

    Attributes:
        data_dir: A server's.
        digests: In the order of fetching.
        size_bytes: Of all of them.
    """

    data_dir: Path
    digests: tuple[str, ...]
    size_bytes: int

    @property
    def root(self) -> Path:
        """Where they lie, as ``names`` below it."""
        return self.data_dir / "blobs"

    @property
    def names(self) -> list[str]:
        """Path of each below ``root``."""
        return [blob_path(digest) for digest in self.digests]


def make(data_dir: Path, size_bytes: int) -> Files:
    """Random blobs of about so many bytes, at least one block, named by a version."""
    store = FolderBlobStore(data_dir / "blobs")
    blocks = max(1, size_bytes // sum(_BLOCK_BYTES))
    sizes = [_SPARE, _SPARE + 1, *(_BLOCK_BYTES * blocks)]
    refs = [_put(store, size) for size in sizes]
    grouped = [tuple(refs[start : start + 3]) for start in range(2, len(refs), 3)]
    parts = [
        Block(
            (TensorPart(f"w{index}", (1, 2 * 1024 * 1024), 0, 1),),
            (),
            blobs,
            tuple(ref.digest for ref in blobs),
        )
        for index, blobs in enumerate(grouped)
    ]
    registry = Registry.open(f"sqlite:///{data_dir / 'registry.sqlite'}")
    try:
        registry.add_version(
            "bytes",
            lambda number: NewVersion(
                Manifest("bytes", number, (4, 6, 8), "floor", refs[0], refs[1], tuple(parts)), _report()
            ),
        )
    finally:
        registry.close()
    return Files(data_dir, tuple(ref.digest for ref in refs[2:]), sum(ref.size_bytes for ref in refs[2:]))


def _put(store: FolderBlobStore, size_bytes: int) -> BlobRef:
    data = os.urandom(size_bytes)
    digest = sha256_hex(data)
    store.put(digest, data)
    return BlobRef(digest, size_bytes, size_bytes, "raw")


def _report() -> SizeReport:
    return SizeReport(
        fp32_bytes=1,
        int8_bytes=1,
        separate_bytes={4: 1, 6: 1, 8: 1},
        paper_high_bytes=1,
        paper_low_bytes=1,
        base_bytes=1,
        shard_bytes={6: 1, 8: 1},
        metadata_bytes=1,
        weights=1,
        floats=0,
    )
