"""What a device fetches of a version when it holds the one before."""

from __future__ import annotations

from collections.abc import Iterator

from benchmarks.update.version import Version
from common.delta import comparable, encode_delta, spans
from common.manifest import BlobRef, Block, to_json
from server.delivery.fetch import manifest_frame


def delta_bytes(held: Version, wanted: Version, count: int | None = None) -> int:
    """Deltas, and blobs in full where those are smaller or blocks differ in more than values.

    Args:
        held: What the device has.
        wanted: What it shall have.
        count: How many blobs of each block it has and fetches; None: all.
    """
    present = {ref.digest for block in held.manifest.blocks for ref in block.blobs[:count]}
    levels = held.manifest.levels, wanted.manifest.levels
    total = 0
    for before, block in _paired(held, wanted):
        refs = block.blobs[:count]
        if all(ref.digest in present for ref in refs):
            continue
        if before is None or not comparable(before, block, *levels):
            total += _missing_bytes(refs, present)
            continue
        first = next(index for index, ref in enumerate(refs) if ref.digest not in present)
        old, new = held.contents(before, count), wanted.contents(block, count)
        for span in spans(block, wanted.manifest.levels, first, len(refs)):
            delta = encode_delta(old[: span.last + 1], new[: span.last + 1], span)
            missing_bytes = _missing_bytes([refs[index] for index in span.indices], present)
            total += missing_bytes if delta is None else min(len(delta), missing_bytes)
        present.update(ref.digest for ref in refs)
    return total


def changed_bytes(held: Version, wanted: Version) -> int:
    """Blobs that the version before has not."""
    present = {ref.digest for block in held.manifest.blocks for ref in block.blobs}
    return _missing_bytes([ref for block in wanted.manifest.blocks for ref in block.blobs], present)


def full_bytes(version: Version) -> int:
    """All blobs of a version's weights."""
    return _missing_bytes([ref for block in version.manifest.blocks for ref in block.blobs], set())


def metadata_bytes(held: Version, wanted: Version) -> int:
    """Manifest, and graph and self-test where they are others."""
    had = {held.manifest.graph.digest, held.manifest.self_test.digest}
    refs = [wanted.manifest.graph, wanted.manifest.self_test]
    return len(manifest_frame(to_json(wanted.manifest))) + _missing_bytes(refs, had)


def _paired(held: Version, wanted: Version) -> Iterator[tuple[Block | None, Block]]:
    """Each wanted block with the one in its place."""
    places = dict(enumerate(held.manifest.blocks))
    return ((places.get(index), block) for index, block in enumerate(wanted.manifest.blocks))


def _missing_bytes(refs: list[BlobRef] | tuple[BlobRef, ...], present: set[str]) -> int:
    return sum({ref.digest: ref.size_bytes for ref in refs if ref.digest not in present}.values())
