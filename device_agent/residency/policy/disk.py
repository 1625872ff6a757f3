"""Which shards leave the disk when it is short, and which may still come. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from itertools import pairwise

from common.manifest import BlobRef, Manifest
from device_agent.residency.policy.worth import Lift, gains_of, is_measured, levelled, valued


class Rank(IntEnum):
    """How dear a blob is; the lower goes first.

    Shards of a version that neither runs nor is wanted; shards above the target residency; shards in it;
    and what never goes: metadata and bases, of the way back too, and whatever no version here names.
    """

    PREVIOUS = 0
    BEYOND = 1
    TARGET = 2
    VITAL = 3


@dataclass(frozen=True, slots=True)
class Holding:
    """A version that the disk holds something of, or shall.

    Attributes:
        manifest: The version.
        target: The level of each block that it shall have in memory; None for a version that neither runs nor
            is wanted, and is the way back.
        demand: How much it is asked for, as in ``Want``.
    """

    manifest: Manifest
    target: tuple[int, ...] | None = None
    demand: float = 1.0


@dataclass(frozen=True, slots=True)
class DiskPlan:
    """What to do.

    Attributes:
        drop: Digests of shards to remove, the least of worth first.
        fetch: Digests of missing blobs that may come, in this order, once ``drop`` is gone; bases come first.
        over_bytes: By how much the disk exceeds its budget even so.
    """

    drop: tuple[str, ...] = ()
    fetch: tuple[str, ...] = ()
    over_bytes: int = 0


@dataclass(slots=True)
class _Plan:
    """The disk as it will be."""

    left_bytes: int
    droppable: list[tuple[Rank, str]]
    sizes: Mapping[str, int]
    drop: list[str] = field(default_factory=list)

    def make_room(self, size_bytes: int, below: Rank) -> bool:
        """Whether there is room for so many bytes, what is dearer than ``below`` or as dear kept."""
        count, left_bytes = 0, self.left_bytes
        for rank, digest in self.droppable:
            if left_bytes >= size_bytes or rank >= below:
                break
            left_bytes += self.sizes[digest]
            count += 1
        if left_bytes < size_bytes:
            return False
        self._take(count)
        return True

    def shrink(self) -> None:
        """Within the budget, or nothing is left that may go."""
        while self.left_bytes < 0 and self.droppable:
            self._take(1)

    def _take(self, count: int) -> None:
        for _, digest in self.droppable[:count]:
            self.left_bytes += self.sizes[digest]
            self.drop.append(digest)
        del self.droppable[:count]


def disk_plan(holdings: Sequence[Holding], sizes: Mapping[str, int], budget_bytes: int) -> DiskPlan:
    """What leaves the disk under a budget, and what may come.

    Shards go in the order of ``Rank``, the least gain per byte of disk first, and of one block the upper
    shard before the lower, which it is of no use without. A shard goes only while the budget is exceeded, or
    to make room for something dearer: a base may push out any shard, a shard of the target only those beyond
    it. What is loaded stays in memory whatever the disk loses, and steps down need no disk.

    Args:
        holdings: What runs, what is wanted and the way back; a blob that several name has its highest rank.
        sizes: Digest to bytes on disk, whole or partial, of all that the store holds.
        budget_bytes: What the store may take.
    """
    ranks = _ranks(holdings)
    dear = {digest: worth for digest, (_, worth) in ranks.items()}
    droppable = sorted(
        ((rank, digest) for digest, (rank, _) in ranks.items() if rank < Rank.VITAL and sizes.get(digest)),
        key=lambda item: (item[0], dear[item[1]]),
    )
    plan = _Plan(budget_bytes - sum(sizes.values()), droppable, sizes)
    plan.shrink()
    fetch = list(_fetch(holdings, ranks, plan))
    return DiskPlan(tuple(plan.drop), tuple(fetch), max(0, -plan.left_bytes))


_Rank = tuple[Rank, tuple[float, int]]


def _fetch(holdings: Sequence[Holding], ranks: Mapping[str, _Rank], plan: _Plan) -> Iterator[str]:
    """What may come; the first blob that finds no room ends the walk, for nothing after it is dearer."""
    for ref in _missing(holdings, ranks, plan.sizes):
        rest_bytes = ref.size_bytes - plan.sizes.get(ref.digest, 0)
        if not plan.make_room(rest_bytes, below=ranks[ref.digest][0]):
            return
        plan.left_bytes -= rest_bytes
        plan.droppable = [item for item in plan.droppable if item[1] != ref.digest]
        yield ref.digest


def _missing(
    holdings: Sequence[Holding], ranks: Mapping[str, _Rank], sizes: Mapping[str, int]
) -> Iterable[BlobRef]:
    """Blobs of target residencies that are not whole: metadata and bases, then the dearest shards first."""
    wanted = [item for item in holdings if item.target is not None]
    refs = {ref.digest: ref for item in wanted for ref in item.manifest.device_refs()}
    vital = [ref for ref in refs.values() if ranks[ref.digest][0] is Rank.VITAL]
    shards = [ref for ref in refs.values() if ranks[ref.digest][0] is Rank.TARGET]
    shards.sort(key=lambda ref: ranks[ref.digest][1], reverse=True)
    return [ref for ref in (*vital, *shards) if sizes.get(ref.digest, 0) < ref.size_bytes]


def _ranks(holdings: Sequence[Holding]) -> dict[str, _Rank]:
    """Digest to how dear it is: its rank, then gain per byte, then how far down in its block."""
    ranks: dict[str, _Rank] = {}
    for holding in holdings:
        for digest, rank in _own_ranks(holding):
            ranks[digest] = max(ranks.get(digest, rank), rank)
    return ranks


def _own_ranks(holding: Holding) -> Iterator[tuple[str, _Rank]]:
    manifest = holding.manifest
    for ref in (manifest.graph, manifest.self_test, *(block.blobs[0] for block in manifest.blocks)):
        yield ref.digest, (Rank.VITAL, (0.0, 0))
    for lift in _disk_lifts(manifest):
        block = manifest.blocks[lift.block]
        digest = block.blobs[block.levels(manifest.levels).index(lift.level)].digest
        yield digest, (_rank(holding, lift), (lift.worth * holding.demand, -lift.level))


def _rank(holding: Holding, lift: Lift) -> Rank:
    if holding.target is None:
        return Rank.PREVIOUS
    return Rank.TARGET if lift.level <= holding.target[lift.block] else Rank.BEYOND


def _disk_lifts(manifest: Manifest) -> list[Lift]:
    """All lifts of a version, with what each is worth a byte of disk."""
    gains = gains_of(manifest)
    lifts = [
        [
            Lift(index, low, high, gain, ref.size_bytes)
            for (low, high), gain, ref in zip(
                pairwise(block.levels(manifest.levels)), gains[index], block.blobs[1:], strict=True
            )
        ]
        for index, block in enumerate(manifest.blocks)
    ]
    if not is_measured(manifest):
        return list(levelled([lift for of_block in lifts for lift in of_block]))
    return [lift for of_block in lifts for lift in valued(of_block)]
