"""Two versions as an update sees them: which blobs can be deltas, and what is known of those. Blocking."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from common.block_pairs import pair_blocks
from common.errors import InvalidInputError
from common.manifest import Manifest, from_json
from server.registry.records import DeltaRecord
from server.registry.repository import Registry


@dataclass(frozen=True, slots=True, order=True)
class Place:
    """Where a blob stands in a version, in the order of fetching: all bases, then the shards step by step.

    Attributes:
        level: That it reaches.
        block: Index of its block.
        blob: Its index in the block.
    """

    level: int
    block: int
    blob: int


@dataclass(frozen=True, slots=True)
class DeltaOffer:
    """A delta that takes fewer bytes than the blob that it stands for.

    Attributes:
        digest: The blob of the wanted version.
        from_digest: The blob of the held version that it is rebuilt from.
        delta_digest, delta_size_bytes: The delta, a blob as well.
    """

    digest: str
    from_digest: str
    delta_digest: str
    delta_size_bytes: int


@dataclass(frozen=True, slots=True)
class DeltaPair:
    """A version that is wanted, and one that is held.

    Attributes:
        wanted, held: Their manifests.
        wanted_digest, held_digest: The digests of those.
        blocks: Index of a wanted block to that of the held one that it can be rebuilt from.
        known: What was found out before, by block and blob; grows.
    """

    wanted: Manifest
    held: Manifest
    wanted_digest: str
    held_digest: str
    blocks: Mapping[int, int]
    known: dict[tuple[int, int], DeltaRecord] = field(default_factory=dict)

    def places(self, blobs_per_block: Sequence[int]) -> list[Place]:
        """Where deltas may serve: comparable blobs that the held version does not name.

        Args:
            blobs_per_block: How many blobs of each block are wanted.

        Raises:
            InvalidInputError: That is not one number for each block, none above what the block has.
        """
        blocks = self.wanted.blocks
        if len(blobs_per_block) != len(blocks):
            raise InvalidInputError(
                f"The version has {len(blocks)} blocks, and blobs are asked for of {len(blobs_per_block)}.",
                advice="State one number for each block of the manifest.",
            )
        for index, (block, count) in enumerate(zip(blocks, blobs_per_block, strict=True)):
            if count > len(block.blobs):
                raise InvalidInputError(f"Block {index} has {len(block.blobs)} blobs, not {count}.")
        return sorted(self._places(blobs_per_block))

    def _places(self, blobs_per_block: Sequence[int]) -> Iterator[Place]:
        held = {ref.digest for ref in self.held.device_refs()}
        for at in self.blocks:
            block = self.wanted.blocks[at]
            own = block.levels(self.wanted.levels)
            for blob in range(blobs_per_block[at]):
                if block.blobs[blob].digest not in held:
                    yield Place(own[blob] if blob else 0, at, blob)

    def offer(self, record: DeltaRecord) -> DeltaOffer | None:
        """What a device is offered; None where the whole blob is the cheaper."""
        if not record.size_bytes:
            return None
        held = self.held.blocks[self.blocks[record.block]]
        return DeltaOffer(
            self.wanted.blocks[record.block].blobs[record.blob].digest,
            held.blobs[record.blob].digest,
            record.delta_digest,
            record.size_bytes,
        )


def load_pair(registry: Registry, wanted_digest: str, held_digest: str) -> DeltaPair:
    """Two versions by the digests of their manifests.

    Raises:
        NotFoundError: The registry does not have them both.
    """
    wanted = from_json(registry.get_manifest(wanted_digest))
    held = from_json(registry.get_manifest(held_digest))
    known = registry.deltas(held_digest, wanted_digest)
    return DeltaPair(
        wanted,
        held,
        wanted_digest,
        held_digest,
        pair_blocks(wanted, held),
        {(record.block, record.blob): record for record in known},
    )
