"""Which blobs of an update come as deltas, and what of an offer is to be believed. Pure.

A delta serves only where the device has what it is rebuilt from: of the held version's block the blobs up to
the same index, of the wanted version's those below it, which are there already or come first.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

from common.block_pairs import pair_blocks
from common.manifest import BlobRef, Manifest
from device_agent.link.server import DeltaOffer
from device_agent.store.ledger import Item, Kind

Has = Callable[[str], bool]
Plan = Sequence[tuple[Item, BlobRef]]


@dataclass(frozen=True, slots=True)
class Rebuild:
    """A blob to be had from a delta.

    Attributes:
        block: Index of its block in the wanted version.
        blob: Its index in the block.
        held_block: Index of the block of the held version.
        ref: The blob.
        delta: What is fetched in its place.
        level: That the blob reaches.
    """

    block: int
    blob: int
    held_block: int
    ref: BlobRef
    delta: BlobRef
    level: int

    @property
    def item(self) -> Item:
        """The delta, for the ledger."""
        return Item(self.delta.digest, Kind.DELTA, self.level, self.delta.size_bytes)


class DeltaPlan:
    """What can be rebuilt of a wanted version from a held one.

    Args:
        wanted: The wanted version.
        held: The held one.
        plan: Blobs that are missing, in the order of fetching.
        has: Whether a blob is whole on disk.
        lost: Whether a blob of the plan has to come whole.
    """

    def __init__(self, wanted: Manifest, held: Manifest, plan: Plan, has: Has, lost: Has) -> None:
        self._wanted = wanted
        self._held = held
        self._has = has
        self._lost = lost
        self._planned = {ref.digest: item for item, ref in plan}
        self._pairs = pair_blocks(wanted, held)
        self._places = self._find_places()

    @property
    def blobs_per_block(self) -> tuple[int, ...]:
        """How many blobs of each block to ask for deltas of; all 0 where none would be of use."""
        counts = [0] * len(self._wanted.blocks)
        for block, blob in self._places.values():
            counts[block] = max(counts[block], blob + 1)
        return tuple(counts)

    @property
    def digests(self) -> Collection[str]:
        """The missing blobs that could be rebuilt, if there were deltas of them."""
        return self._places.keys()

    def rebuilds(
        self, offers: Sequence[DeltaOffer], partial_bytes: Callable[[str], int], taken: Collection[str]
    ) -> tuple[Rebuild, ...]:
        """What to rebuild, in the order of fetching; offers that are of no use are left out.

        Args:
            offers: As the server sent them.
            partial_bytes: How many bytes of a whole blob are here already.
            taken: Digests that no delta can have: those of blobs.
        """
        found: dict[str, Rebuild] = {}
        sizes_bytes: dict[str, int] = {}
        for offer in offers:
            rebuild = self._rebuild(offer)
            if rebuild is None or offer.delta_digest in taken:
                continue
            delta, ref = rebuild.delta, rebuild.ref
            known_bytes = sizes_bytes.setdefault(delta.digest, delta.size_bytes)
            left_bytes = ref.size_bytes - partial_bytes(ref.digest)
            if 0 < delta.size_bytes < left_bytes and delta.size_bytes == known_bytes:
                found.setdefault(ref.digest, rebuild)
        return tuple(found[digest] for digest in self._planned if digest in found)

    def _find_places(self) -> dict[str, tuple[int, int]]:
        """Digest of each blob that could be rebuilt to its block and index; the first of several places."""
        places: dict[str, tuple[int, int]] = {}
        for at, other in self._pairs.items():
            below = True
            refs = zip(self._wanted.blocks[at].blobs, self._held.blocks[other].blobs, strict=True)
            for blob, (ref, held) in enumerate(refs):
                if not below or not self._has(held.digest):
                    break
                if ref.digest in self._planned and not self._lost(ref.digest):
                    places.setdefault(ref.digest, (at, blob))
                below = ref.digest in self._planned or self._has(ref.digest)
        return places

    def _rebuild(self, offer: DeltaOffer) -> Rebuild | None:
        place = self._places.get(offer.digest)
        if place is None:
            return None
        at, blob = place
        other = self._pairs[at]
        if self._held.blocks[other].blobs[blob].digest != offer.from_digest:
            return None
        ref = self._wanted.blocks[at].blobs[blob]
        delta = BlobRef(offer.delta_digest, offer.delta_size_bytes, offer.delta_size_bytes, "raw")
        return Rebuild(at, blob, other, ref, delta, self._planned[ref.digest].level)


def delta_items(rebuilds: Sequence[Rebuild]) -> list[tuple[Item, BlobRef]]:
    """The deltas to fetch, in the order of what they give, each once."""
    deltas: dict[str, tuple[Item, BlobRef]] = {}
    for rebuild in rebuilds:
        deltas.setdefault(rebuild.delta.digest, (rebuild.item, rebuild.delta))
    return list(deltas.values())


def by_block(rebuilds: Sequence[Rebuild]) -> Iterator[list[Rebuild]]:
    """One block after the other, each blob after those that it needs."""
    ordered = sorted(rebuilds, key=lambda rebuild: (rebuild.block, rebuild.blob))
    for _, group in groupby(ordered, key=lambda rebuild: rebuild.block):
        yield list(group)
