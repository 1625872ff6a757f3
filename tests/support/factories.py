"""Valid-by-default values for tests that need some version, and do not care which."""

from __future__ import annotations

from collections.abc import Callable

from common.digest import sha256_hex
from common.manifest import BlobRef, Block, Manifest, TensorPart
from common.sizes import SizeReport
from server.registry.records import NewVersion


def blob_ref(content: str) -> BlobRef:
    data = content.encode()
    return BlobRef(sha256_hex(data), len(data), len(data), "raw")


def manifest(model: str, version: int, *, contents: tuple[str, ...] = ("base", "six", "eight")) -> Manifest:
    """Levels 4, 6, 8, one block, one blob per content."""
    block = Block(
        tensors=(TensorPart("weight", (4, 4), 0, 4),),
        floats=(),
        blobs=tuple(blob_ref(content) for content in contents),
        digests=tuple(sha256_hex(content.encode()) for content in contents),
    )
    return Manifest(model, version, (4, 6, 8), "floor", blob_ref("graph"), blob_ref("self-test"), (block,))


def sizes(scale: int = 1) -> SizeReport:
    return SizeReport(
        fp32_bytes=3200 * scale,
        int8_bytes=800 * scale,
        separate_bytes={4: 400 * scale, 6: 600 * scale, 8: 800 * scale},
        paper_high_bytes=450 * scale,
        paper_low_bytes=550 * scale,
        base_bytes=400 * scale,
        shard_bytes={6: 200 * scale, 8: 200 * scale},
        metadata_bytes=50 * scale,
        weights=800 * scale,
        floats=10 * scale,
    )


def make_version(
    model: str, *, contents: tuple[str, ...] = ("base", "six", "eight"), scale: int = 1
) -> Callable[[int], NewVersion]:
    """What ``Registry.add_version`` asks for."""
    return lambda number: NewVersion(manifest(model, number, contents=contents), sizes(scale))
