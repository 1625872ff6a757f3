"""What a device fetches of a version when it holds the one before."""

from __future__ import annotations

from benchmarks.update.version import Version
from common.block_pairs import pair_blocks
from common.delta import encode_delta, spans
from common.manifest import BlobRef, to_json
from server.delivery.delta_maker import LEAST_SAVING
from server.delivery.fetch import manifest_frame


def delta_bytes(held: Version, wanted: Version, count: int | None = None) -> int:
    """Deltas where the server would offer them, else blobs in full.

    Args:
        held: What the device has.
        wanted: What it shall have.
        count: How many blobs of each block it has and fetches; None: all.
    """
    present = {ref.digest for block in held.manifest.blocks for ref in block.blobs[:count]}
    pairs = pair_blocks(wanted.manifest, held.manifest)
    total = 0
    for index, block in enumerate(wanted.manifest.blocks):
        refs = block.blobs[:count]
        first = next((at for at, ref in enumerate(refs) if ref.digest not in present), len(refs))
        if index not in pairs:
            total += _missing_bytes(refs, present)
        elif first < len(refs):
            old = held.contents(held.manifest.blocks[pairs[index]], count)
            new = wanted.contents(block, count)
            for span in spans(block, wanted.manifest.levels, first, len(refs)):
                delta = encode_delta(old[: span.last + 1], new[: span.last + 1], span)
                missing_bytes = _missing_bytes([refs[at] for at in span.indices], present)
                saves = delta is not None and len(delta) <= (1 - LEAST_SAVING) * missing_bytes
                total += len(delta) if delta is not None and saves else missing_bytes
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


def _missing_bytes(refs: list[BlobRef] | tuple[BlobRef, ...], present: set[str]) -> int:
    return sum({ref.digest: ref.size_bytes for ref in refs if ref.digest not in present}.values())
