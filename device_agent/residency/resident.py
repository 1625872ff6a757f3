"""One version's weights in memory, as immutable values: a request sees one state throughout."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from numpy.typing import NDArray

from common.manifest import TensorPart
from common.nesting import clamp_level
from common.rows import Affine, Grid
from device_agent.residency.bit_planes import PackedCodes
from device_agent.residency.codes import Codes
from device_agent.residency.row_scales import RowScales


@dataclass(frozen=True, slots=True, eq=False)
class ResidentPart:
    """A quantized tensor, or some of its output rows.

    Attributes:
        part: Which rows of which tensor.
        codes: At the block's level, in one form or another.
        levels: From the block's base up to its level.
        affines: Scale and offset of each of these levels; a step down finds its own here.
        grid: What they follow from.
        carries: One per step from the base up to the block's level: what, beside the codes, a step down needs
            (``common.nesting``), as stored; None where codes below are the high bits of those above.
    """

    part: TensorPart
    codes: Codes
    levels: tuple[int, ...]
    affines: RowScales
    grid: Grid
    carries: tuple[PackedCodes | None, ...] = ()

    def affine(self, level: int) -> Affine:
        """Scale and offset at one of its levels."""
        return self.affines[self.levels.index(level)]

    @property
    def size_bytes(self) -> int:
        """Memory that the part takes."""
        carries = sum(carry.size_bytes for carry in self.carries if carry)
        return self.codes.size_bytes + carries + self.affines.size_bytes + self.grid.size_bytes


@dataclass(frozen=True, slots=True, eq=False)
class ResidentBlock:
    """A block in memory.

    Attributes:
        levels: From its base up to the level that its codes have.
        parts: Its tensors, in the manifest's order.
        floats: Its values that stay float, by name.
        digest: What names it at its level.
        level_floats: Its values that are others at each level, by name: one per each of ``levels``.
    """

    levels: tuple[int, ...]
    parts: tuple[ResidentPart, ...]
    floats: Mapping[str, NDArray[Any]]
    digest: str
    level_floats: Mapping[str, tuple[NDArray[Any], ...]]

    @property
    def level(self) -> int:
        """The level that its codes have."""
        return self.levels[-1]

    @property
    def size_bytes(self) -> int:
        """Memory that the block takes."""
        parts_bytes = sum(part.size_bytes for part in self.parts)
        each = (self.floats.values(), *self.level_floats.values())
        return parts_bytes + sum(value.nbytes for values in each for value in values)

    def float_names(self) -> Iterator[str]:
        """The name of each value that stays float."""
        yield from self.floats
        yield from self.level_floats

    def float_value(self, name: str, highest_level: int) -> NDArray[Any]:
        """A value that stays float; if the block is above a level, then as it was if lowered to it."""
        if name in self.floats:
            return self.floats[name]
        return self.level_floats[name][self.levels.index(clamp_level(self.levels, highest_level))]


@dataclass(frozen=True, slots=True, eq=False, weakref_slot=True)
class Snapshot:
    """All blocks of a version, each at some level.

    Attributes:
        levels: All levels of the version.
        blocks: In the manifest's order.
        tensors: Name to the index of every block that holds some of its rows, in row order.
        floats: Name to the index of its block.
        prepared: Tensor name to what an executor made of it; what it is, it alone knows.
    """

    levels: tuple[int, ...]
    blocks: tuple[ResidentBlock, ...]
    tensors: Mapping[str, tuple[tuple[int, int], ...]] = field(repr=False)
    floats: Mapping[str, int] = field(repr=False)
    prepared: Mapping[str, object] = field(default_factory=dict, repr=False)

    @classmethod
    def of(cls, levels: tuple[int, ...], blocks: Sequence[ResidentBlock]) -> Snapshot:
        """The snapshot of some blocks, with its index of names."""
        tensors: dict[str, list[tuple[int, int]]] = {}
        for at_block, block in enumerate(blocks):
            for at_part, resident in enumerate(block.parts):
                tensors.setdefault(resident.part.name, []).append((at_block, at_part))
        floats = {name: at_block for at_block, block in enumerate(blocks) for name in block.float_names()}
        return cls(levels, tuple(blocks), {name: tuple(places) for name, places in tensors.items()}, floats)

    def with_blocks(self, changed: Mapping[int, ResidentBlock]) -> Snapshot:
        """The same but for some blocks, by index, each of which holds the same tensors in another state."""
        return replace(self, blocks=tuple(changed.get(at, block) for at, block in enumerate(self.blocks)))

    def extended(self, blocks: Sequence[ResidentBlock]) -> Snapshot:
        """The same and some blocks behind those that are here."""
        return replace(Snapshot.of(self.levels, (*self.blocks, *blocks)), prepared=self.prepared)

    def parts(self, name: str) -> tuple[ResidentPart, ...]:
        """Every part of a tensor; empty for a name that is none."""
        return tuple(self.blocks[block].parts[part] for block, part in self.tensors.get(name, ()))

    def float_value(self, name: str, highest_level: int) -> NDArray[Any]:
        """A value that stays float, of its block; see there."""
        return self.blocks[self.floats[name]].float_value(name, highest_level)

    def float_values(self) -> Iterator[tuple[str, NDArray[Any]]]:
        """Every value that stays float, with its name, at its block's level."""
        for block in self.blocks:
            for name in block.float_names():
                yield name, block.float_value(name, block.level)

    @property
    def level(self) -> int:
        """Lowest level of any block with quantized tensors; a version without any runs in full."""
        return min((block.level for block in self.blocks if block.parts), default=self.levels[-1])

    @property
    def size_bytes(self) -> int:
        """Memory that the weights take."""
        return sum(block.size_bytes for block in self.blocks)

    @property
    def loaded_digest(self) -> str:
        """SHA-256 over the blocks' raw digests, in order: names what is loaded, 64 hex digits."""
        hasher = hashlib.sha256()
        for block in self.blocks:
            hasher.update(bytes.fromhex(block.digest))
        return hasher.hexdigest()
