"""Two versions as an update sees them: which blobs can be deltas, and what is known of those. Blocking."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from common.block_pairs import pair_blocks
from common.delta import Span, spans
from common.errors import InvalidInputError
from common.manifest import BlobRef, Manifest, from_json
from server.registry.records import DeltaRecord
from server.registry.repository import Registry


@dataclass(frozen=True, slots=True, order=True)
class Place:
    """Some neighbouring blobs of a version, in the order of fetching: with bases first, then step by step.

    Attributes:
        level: That the lowest of them reaches; 0 for a base.
        block: Index of their block.
        first, last: Indices of the lowest and the highest blob in the block.
    """

    level: int
    block: int
    first: int
    last: int


@dataclass(frozen=True, slots=True)
class DeltaOffer:
    """A delta that takes fewer bytes than the blobs that it stands for.

    Attributes:
        digests: Blobs of the wanted version: neighbours of one block, lowest first.
        from_digests: The blobs of the held version that they are rebuilt from, from the base up.
        delta_digest, delta_size_bytes: The delta, a blob as well.
    """

    digests: tuple[str, ...]
    from_digests: tuple[str, ...]
    delta_digest: str
    delta_size_bytes: int


@dataclass(frozen=True, slots=True)
class DeltaPair:
    """A version that is wanted, and one that is held.

    Attributes:
        wanted, held: Their manifests.
        wanted_digest, held_digest: The digests of those.
        blocks: Index of a wanted block to that of the held one that it can be rebuilt from.
        known: What was found out before; grows.
    """

    wanted: Manifest
    held: Manifest
    wanted_digest: str
    held_digest: str
    blocks: Mapping[int, int]
    known: dict[Place, DeltaRecord] = field(default_factory=dict)

    def places(self, blobs_per_block: Sequence[int], present_per_block: Sequence[int]) -> list[Place]:
        """Where deltas may serve: blobs of comparable blocks that the held version does not name.

        Args:
            blobs_per_block: How many blobs of each block are wanted.
            present_per_block: How many of them, from the base up, are there already; empty for none.

        Raises:
            InvalidInputError: These are not one number for each block, none above what the block has.
        """
        blocks = self.wanted.blocks
        present = present_per_block or [0] * len(blocks)
        if not len(blobs_per_block) == len(present) == len(blocks):
            raise InvalidInputError(
                f"The version has {len(blocks)} blocks, and blobs are asked for of {len(blobs_per_block)}.",
                advice="State one number for each block of the manifest.",
            )
        for index, (block, *counts) in enumerate(zip(blocks, blobs_per_block, present, strict=True)):
            if max(counts) > len(block.blobs):
                raise InvalidInputError(f"Block {index} has {len(block.blobs)} blobs, not {max(counts)}.")
        return sorted(self._places(blobs_per_block, present))

    def span(self, place: Place) -> Span:
        """What the codec takes for a place."""
        return Span(self.wanted.blocks[place.block], self.wanted.levels, place.first, place.last)

    def fresh(self, place: Place) -> list[BlobRef]:
        """The blobs at a place that the held version does not name, each once."""
        held = {ref.digest for ref in self.held.blocks[self.blocks[place.block]].blobs}
        refs = self.wanted.blocks[place.block].blobs[place.first : place.last + 1]
        return list({ref.digest: ref for ref in refs if ref.digest not in held}.values())

    def offer(self, place: Place, record: DeltaRecord) -> DeltaOffer | None:
        """What a device is offered; None where the whole blobs are the cheaper."""
        if not record.size_bytes:
            return None
        wanted = self.wanted.blocks[place.block].blobs[place.first : place.last + 1]
        held = self.held.blocks[self.blocks[place.block]].blobs[: place.last + 1]
        return DeltaOffer(
            tuple(ref.digest for ref in wanted),
            tuple(ref.digest for ref in held),
            record.delta_digest,
            record.size_bytes,
        )

    def _places(self, blobs_per_block: Sequence[int], present: Sequence[int]) -> Iterator[Place]:
        levels = self.wanted.levels
        for at in self.blocks:
            block = self.wanted.blocks[at]
            for span in spans(block, levels, present[at], blobs_per_block[at]):
                level = block.levels(levels)[span.first] if span.first else 0
                place = Place(level, at, span.first, span.last)
                if self.fresh(place):
                    yield place


def load_pair(registry: Registry, wanted_digest: str, held_digest: str) -> DeltaPair:
    """Two versions by the digests of their manifests.

    Raises:
        NotFoundError: The registry does not have them both.
    """
    wanted = from_json(registry.get_manifest(wanted_digest))
    held = from_json(registry.get_manifest(held_digest))
    pair = DeltaPair(wanted, held, wanted_digest, held_digest, pair_blocks(wanted, held))
    for record in registry.deltas(held_digest, wanted_digest):
        levels = wanted.blocks[record.block].levels(wanted.levels)
        level = levels[record.first] if record.first else 0
        pair.known[Place(level, record.block, record.first, record.last)] = record
    return pair
