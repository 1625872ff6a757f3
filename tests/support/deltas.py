"""Deltas of a server in memory, and ways in which they can be wrong."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from common.block_codec import Content, decode, shape_of
from common.block_pairs import pair_blocks
from common.delta_codec import encode_delta
from common.digest import sha256_hex
from common.manifest import Manifest
from device_agent.link.server import DeltaOffer

Version = tuple[Manifest, Mapping[str, bytes]]


@dataclass
class DeltaDesk:
    """Makes every delta that is smaller than its blob.

    Attributes:
        blobs: All that were made, by digest.
    """

    blobs: dict[str, bytes] = field(default_factory=dict)

    def offers(self, wanted: Version, held: Version, blobs_per_block: Sequence[int]) -> list[DeltaOffer]:
        manifest, other = wanted[0], held[0]
        known = {ref.digest for ref in other.device_refs()}
        offers = []
        for at, other_at in pair_blocks(manifest, other).items():
            for blob in range(blobs_per_block[at]):
                ref = manifest.blocks[at].blobs[blob]
                data = self.delta(wanted, held, (at, other_at, blob))
                if ref.digest not in known and len(data) < ref.size_bytes:
                    digest = sha256_hex(data)
                    self.blobs[digest] = data
                    offers.append(
                        DeltaOffer(ref.digest, other.blocks[other_at].blobs[blob].digest, digest, len(data))
                    )
        return offers

    def delta(self, wanted: Version, held: Version, place: tuple[int, int, int]) -> bytes:
        """The delta at a wanted block, a held block and an index of blobs."""
        at, other_at, blob = place
        block, levels = wanted[0].blocks[at], wanted[0].levels
        return encode_delta(contents(held, other_at, blob), contents(wanted, at, blob), block, levels, blob)


class ConfusedDesk(DeltaDesk):
    """Its deltas have the digests that it says, and give the blobs of the held version."""

    def delta(self, wanted: Version, held: Version, place: tuple[int, int, int]) -> bytes:
        at, other_at, blob = place
        block, levels = wanted[0].blocks[at], wanted[0].levels
        same = contents(held, other_at, blob)
        return encode_delta(same, same, block, levels, blob)


def contents(version: Version, at: int, last: int) -> list[Content]:
    """Contents of a block's blobs up to an index."""
    manifest, blobs = version
    block = manifest.blocks[at]
    return [
        decode(blobs[ref.digest], ref, shape_of(block, manifest.levels, index))
        for index, ref in enumerate(block.blobs[: last + 1])
    ]
