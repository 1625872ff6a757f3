"""What is to be fetched for some levels, and in which order; what can be run of what is there. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from common.manifest import BlobRef, Block, Manifest
from device_agent.store.ledger import Item, Kind

Has = Callable[[str], bool]


def wanted_blobs(manifest: Manifest, chosen: Sequence[int]) -> tuple[tuple[Item, BlobRef], ...]:
    """Every blob that the version needs at these levels, each digest once, in the order of fetching.

    Graph and self-test first, then the bases of all blocks, so that the version can answer as soon as may be,
    then the shards of the lowest step for all blocks, and so on. Within a step those come first that bring
    the output nearer to the model's for the fewest bytes, so that a download that has to end early ends well.

    Args:
        manifest: The version.
        chosen: The level of each block; its base is wanted in any case, and counts as the lowest level.
    """
    metadata = [(Kind.METADATA, 0, ref) for ref in (manifest.graph, manifest.self_test)]
    levels = manifest.levels
    bases = [(Kind.BASE, levels[0], block.blobs[0]) for block in manifest.blocks]
    shards = [
        (Kind.SHARD, at_level, ref)
        for at_level in levels[1:]
        for ref in _best_first(manifest, at_level, chosen)
    ]
    plan: dict[str, tuple[Item, BlobRef]] = {}
    for kind, level, ref in (*metadata, *bases, *shards):
        plan.setdefault(ref.digest, (Item(ref.digest, kind, level, ref.size_bytes), ref))
    return tuple(plan.values())


def missing_blobs(manifest: Manifest, chosen: Sequence[int], has: Has) -> tuple[tuple[Item, BlobRef], ...]:
    """The wanted blobs that are not there yet."""
    return tuple((item, ref) for item, ref in wanted_blobs(manifest, chosen) if not has(ref.digest))


def base_levels(manifest: Manifest) -> tuple[int, ...]:
    """The level of each block's base."""
    return manifest.base_levels()


def has_base(manifest: Manifest, has: Has) -> bool:
    """Whether the version could be loaded at its lowest level."""
    return not missing_blobs(manifest, base_levels(manifest), has)


def reachable_levels(manifest: Manifest, target: Sequence[int], has: Has) -> tuple[int, ...]:
    """The highest level of each block, up to its target, for which all shards are there."""
    return tuple(
        _reachable(block, manifest.levels, level, has)
        for block, level in zip(manifest.blocks, target, strict=True)
    )


def next_stage(manifest: Manifest, target: Sequence[int], has: Has) -> tuple[int, ...]:
    """The target, but no higher than the lowest step for which something is missing.

    So all blocks get to one level, and run there, before the first shard of the next is fetched.
    """
    for level in manifest.levels:
        stage = tuple(map(min, manifest.nearest(level), target))
        if missing_blobs(manifest, stage, has):
            return stage
    return tuple(target)


def _best_first(manifest: Manifest, at_level: int, chosen: Sequence[int]) -> list[BlobRef]:
    """The shards that reach a level; in the manifest's order where nobody has measured what they gain."""
    found = [
        (gain / ref.size_bytes, ref)
        for block, wanted in zip(manifest.blocks, chosen, strict=True)
        for (level, ref), gain in zip(_shards(block, manifest.levels), _gains(block), strict=True)
        if level == at_level <= wanted
    ]
    return [ref for _, ref in sorted(found, key=lambda pair: -pair[0])]


def _gains(block: Block) -> Sequence[int]:
    return block.gains or (0,) * (len(block.blobs) - 1)


def _reachable(block: Block, levels: Sequence[int], target: int, has: Has) -> int:
    reached = block.levels(levels)[0]
    for level, ref in _shards(block, levels):
        if level > target or not has(ref.digest):
            break
        reached = level
    return reached


def _shards(block: Block, levels: Sequence[int]) -> Iterator[tuple[int, BlobRef]]:
    """The level that each shard of a block reaches, and the shard, lowest first."""
    return zip(block.levels(levels)[1:], block.blobs[1:], strict=True)
