"""Which blocks of two versions are so alike that one's blobs can be had from the other's. Pure."""

from __future__ import annotations

from common.delta import comparable
from common.manifest import Block, Manifest, TensorPart


def pair_blocks(wanted: Manifest, held: Manifest) -> dict[int, int]:
    """Index of a block of the wanted version to that of the comparable one of the held version.

    Blocks hold the same rows of the same tensors, whichever places they have in their versions; of several
    that do, the first counts.
    """
    places: dict[tuple[tuple[TensorPart, ...], frozenset[str]], int] = {}
    for place, block in enumerate(held.blocks):
        places.setdefault(_contents(block), place)
    pairs = {}
    for place, block in enumerate(wanted.blocks):
        other = places.get(_contents(block))
        if other is not None and comparable(held.blocks[other], block, held.levels, wanted.levels):
            pairs[place] = other
    return pairs


def _contents(block: Block) -> tuple[tuple[TensorPart, ...], frozenset[str]]:
    return block.tensors, frozenset(block.floats)
