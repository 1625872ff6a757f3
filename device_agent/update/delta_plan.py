"""Which blobs of an update come as deltas, and what of an offer is to be believed. Pure.

A delta serves only where the device has what it is rebuilt from: of the held version's block the blobs from
the base up to the delta's last, of the wanted version's those below its first, which are there or come first.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

from common.block_pairs import pair_blocks
from common.delta import Span, spans
from common.manifest import BlobRef, Manifest
from device_agent.link.server import DeltaOffer
from device_agent.store.ledger import Item, Kind

Has = Callable[[str], bool]
Plan = Sequence[tuple[Item, BlobRef]]


@dataclass(frozen=True, slots=True)
class Rebuild:
    """Neighbouring blobs of a block, to be had from a delta.

    Attributes:
        block: Index of their block in the wanted version.
        held_block: Index of the block of the held version.
        span: Which blobs.
        delta: What is fetched in their place.
    """

    block: int
    held_block: int
    span: Span
    delta: BlobRef

    @property
    def refs(self) -> tuple[BlobRef, ...]:
        """The blobs, lowest first."""
        return self.span.block.blobs[self.span.first : self.span.last + 1]

    @property
    def below(self) -> tuple[BlobRef, ...]:
        """The blobs of the wanted block that have to be there before."""
        return self.span.block.blobs[: self.span.first]

    @property
    def item(self) -> Item:
        """The delta, for the ledger: at the highest level that it brings."""
        level = self.span.block.levels(self.span.levels)[self.span.last]
        return Item(self.delta.digest, Kind.DELTA, level, self.delta.size_bytes)


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
        self._order = {ref.digest: place for place, (_, ref) in enumerate(plan)}
        self._hoped = {digest for digest in self._order if not lost(digest)}
        self._pairs = pair_blocks(wanted, held)
        self._ranges = {at: self._range(at) for at in self._pairs}
        self._places = self._find_places()

    @property
    def present_per_block(self) -> tuple[int, ...]:
        """How many blobs of each block, from its base up, no delta is asked for: they are here, or come."""
        return tuple(self._ranges.get(at, (0, 0))[0] for at in range(len(self._wanted.blocks)))

    @property
    def blobs_per_block(self) -> tuple[int, ...]:
        """Up to how many blobs of each block deltas are asked for."""
        return tuple(self._ranges.get(at, (0, 0))[1] for at in range(len(self._wanted.blocks)))

    @property
    def digests(self) -> Collection[str]:
        """The missing blobs that could be rebuilt, if there were deltas of them."""
        refs = (
            ref
            for at, (first, stop) in self._ranges.items()
            for ref in self._wanted.blocks[at].blobs[first:stop]
        )
        return {ref.digest for ref in refs} & self._hoped

    def rebuilds(
        self, offers: Sequence[DeltaOffer], partial_bytes: Callable[[str], int], taken: Collection[str]
    ) -> tuple[Rebuild, ...]:
        """What to rebuild, in the order of fetching; offers that are of no use are left out.

        Args:
            offers: As the server sent them.
            partial_bytes: How many bytes of a whole blob are here already.
            taken: Digests that no delta can have: those of blobs.
        """
        found: list[Rebuild] = []
        left, sizes_bytes = set(self._hoped), dict[str, int]()
        for offer in offers:
            rebuild = self._rebuild(offer)
            if rebuild is None or offer.delta_digest in taken:
                continue
            fresh = {ref for ref in rebuild.refs if ref.digest in left}
            left_bytes = sum(ref.size_bytes - partial_bytes(ref.digest) for ref in fresh)
            known_bytes = sizes_bytes.setdefault(offer.delta_digest, offer.delta_size_bytes)
            if 0 < offer.delta_size_bytes < left_bytes and offer.delta_size_bytes == known_bytes:
                found.append(rebuild)
                left -= {ref.digest for ref in fresh}
        return tuple(sorted(found, key=self._first_place))

    def _range(self, at: int) -> tuple[int, int]:
        """From which to which blob of a block deltas are of use; an empty range for none."""
        refs = [ref.digest for ref in self._wanted.blocks[at].blobs]
        held = [ref.digest for ref in self._held.blocks[self._pairs[at]].blobs]
        most = _leading(held, self._has)
        first = _leading(refs, lambda digest: self._has(digest) or self._is_lost(digest))
        # What is here above a blob that is missing counts: so a delta that was used in part is used again.
        stop = first + _leading(refs[first:most], lambda digest: self._has(digest) or digest in self._hoped)
        return (first, stop) if any(digest in self._hoped for digest in refs[first:stop]) else (0, 0)

    def _is_lost(self, digest: str) -> bool:
        return digest in self._order and digest not in self._hoped

    def _rebuild(self, offer: DeltaOffer) -> Rebuild | None:
        place = self._places.get(offer.digests)
        if place is None:
            return None
        at, span = place
        held = self._held.blocks[self._pairs[at]].blobs[: span.last + 1]
        if tuple(ref.digest for ref in held) != offer.from_digests:
            return None
        delta = BlobRef(offer.delta_digest, offer.delta_size_bytes, offer.delta_size_bytes, "raw")
        return Rebuild(at, self._pairs[at], span, delta)

    def _find_places(self) -> dict[tuple[str, ...], tuple[int, Span]]:
        """What deltas can stand for: digests of neighbours to their place, the first of several."""
        places: dict[tuple[str, ...], tuple[int, Span]] = {}
        for at, (first, stop) in self._ranges.items():
            block = self._wanted.blocks[at]
            for last in range(first, stop):
                for start in range(last + 1):
                    digests = tuple(ref.digest for ref in block.blobs[start : last + 1])
                    cut = spans(block, self._wanted.levels, start, last + 1)
                    if len(cut) == 1:
                        places.setdefault(digests, (at, cut[0]))
        return places

    def _first_place(self, rebuild: Rebuild) -> int:
        return min(self._order[ref.digest] for ref in rebuild.refs if ref.digest in self._order)


def delta_items(rebuilds: Sequence[Rebuild]) -> list[tuple[Item, BlobRef]]:
    """The deltas to fetch, in the order of what they give, each once."""
    deltas: dict[str, tuple[Item, BlobRef]] = {}
    for rebuild in rebuilds:
        deltas.setdefault(rebuild.delta.digest, (rebuild.item, rebuild.delta))
    return list(deltas.values())


def by_block(rebuilds: Sequence[Rebuild]) -> Iterator[list[Rebuild]]:
    """One block after the other, each delta after those that it needs."""
    ordered = sorted(rebuilds, key=lambda rebuild: (rebuild.block, rebuild.span.first))
    for _, group in groupby(ordered, key=lambda rebuild: rebuild.block):
        yield list(group)


def _leading(digests: Sequence[str], holds: Has) -> int:
    """How many of them something holds of before the first of which it does not."""
    return next((count for count, digest in enumerate(digests) if not holds(digest)), len(digests))
