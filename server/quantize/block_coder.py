"""One block: from its float rows to the blobs that cross the wire."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from common.block_codec import Content, affine_of, encode, level_digest, shape_of
from common.manifest import BlobRef, Block, TensorPart
from common.nesting import steps_of
from common.rows import Fit, Grid
from server.quantize.affine import Affine
from server.quantize.frozen import Held, kept_rows
from server.quantize.rounding import Rounded, Rounding, Rows
from server.quantize.rounding.floor import Floor
from server.quantize.row_fit import fit_of, grid_of

_NO_BLOB: Final = BlobRef("", 0, 0, "")

Arrays = dict[str, NDArray[Any]]


@dataclass(frozen=True, slots=True)
class BlockValues:
    """What a block is made of, in memory.

    Attributes:
        tensors: Rows of quantized tensors: float32 [rows, row_weights].
        floats: Tensors that stay as they are.
        level_floats: Tensors that stay float and are others at each level: one array per level of the block,
            lowest first, all of one type and shape. Only beside quantized tensors.
        decided: Rows of tensors to what calibration decided for them: one for each part-bit level.
        held: Rows of tensors to what the version before has for them.
        means: Name of a tensor to what its columns are multiplied with on average, as ``refit`` takes it.

    Raises:
        ValueError: Level floats are none of that.
    """

    tensors: Mapping[TensorPart, NDArray[np.float32]]
    floats: Mapping[str, NDArray[Any]]
    level_floats: Mapping[str, tuple[NDArray[Any], ...]] = field(default_factory=dict)
    decided: Mapping[TensorPart, tuple[Affine, ...]] = field(default_factory=dict)
    held: Mapping[TensorPart, Held] = field(default_factory=dict)
    means: Mapping[str, NDArray[np.float64]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.level_floats and not self.tensors:
            raise ValueError("floats follow levels, and there are none without quantized tensors")
        for name, arrays in self.level_floats.items():
            if len({(array.dtype, array.shape) for array in arrays}) != 1 or name in self.floats:
                raise ValueError(f"float {name!r} does not have one type and shape in one place")


@dataclass(frozen=True, slots=True)
class CodedBlock:
    """A block's entry in the manifest, and its blobs in the same order.

    Attributes:
        block, data: The two.
        kept_rows: How many rows have the scale and zero point that were held for them.
    """

    block: Block
    data: tuple[bytes, ...]
    kept_rows: int = 0

    def blobs(self) -> Iterator[tuple[BlobRef, bytes]]:
        """Each blob with its reference, the base first."""
        return zip(self.block.blobs, self.data, strict=True)


def encode_block(values: BlockValues, levels: Sequence[int], rounding: Rounding) -> CodedBlock:
    """Base and shards of a block; each blob carries the fit and the floats of the level that it reaches.

    Args:
        values: What the block is made of.
        levels: Those of the block: the last ones of the version, from its base up.
        rounding: How weights come to be codes.

    Raises:
        InvalidInputError: A weight is NaN or infinite.
    """
    levels = levels if values.tensors else levels[:1]
    if any(len(arrays) != len(levels) for arrays in values.level_floats.values()):
        raise ValueError("a float that follows levels has not one value for each")
    rounded = [rounding(_rows(values, part), levels) for part in values.tensors]
    parts = [
        _Part.of(one, levels, values.means.get(part.name))
        for part, one in zip(values.tensors, rounded, strict=True)
    ]
    plain = Block(
        tuple(values.tensors),
        tuple(values.floats),
        (_NO_BLOB,) * len(levels),
        ("",) * len(levels),
        _stated(rounding.shard_bits(levels), levels),
        tuple(values.level_floats),
    )
    coded, digests = [], []
    for index in range(len(levels)):
        shape = shape_of(plain, levels, index)
        content = Content(
            tuple(part.values[index] for part in parts),
            tuple(part.grid for part in parts) if index == 0 else (),
            tuple(part.fits[index] for part in parts) if shape.fitted else (),
            _floats(values, index),
        )
        coded.append(encode(content, shape))
        affines = [affine_of(part.grid, content.fits, at, shape) for at, part in enumerate(parts)]
        codes = [one.levels[index].codes for one in rounded]
        digests.append(level_digest(codes, affines, content.floats))
    block = replace(plain, blobs=tuple(ref for _, ref in coded), digests=tuple(digests))
    kept = (
        kept_rows(one.levels[-1], values.held.get(part))
        for part, one in zip(values.tensors, rounded, strict=True)
    )
    return CodedBlock(block, tuple(data for data, _ in coded), sum(kept))


def dedicated_bytes(values: BlockValues, level: int) -> int:
    """Wire bytes of the block in a model that is quantized for one level alone, under the same coder."""
    full = {name: by_level[-1:] for name, by_level in values.level_floats.items()}
    alone = BlockValues(values.tensors, values.floats, full)
    return encode_block(alone, (level,), Floor()).block.blobs[0].size_bytes


@dataclass(frozen=True, slots=True)
class _Part:
    """One tensor part as the blobs say it: values of each blob, grid, and the fit of each part-bit level."""

    values: tuple[NDArray[np.uint8], ...]
    grid: Grid
    fits: tuple[Fit, ...]

    @classmethod
    def of(cls, rounded: Rounded, levels: Sequence[int], means: NDArray[np.float64] | None) -> _Part:
        nested = rounded.nested
        base = nested.base.view(np.uint8) + np.uint8(1 << (levels[0] - 1))  # modulo 256, and within it
        grid = grid_of(rounded.levels[-1])
        fits = (
            fit_of(grid, affine, level, levels[-1], means)
            for level, affine in zip(levels[:-1], rounded.levels[:-1], strict=True)
        )
        stored = (values.reshape(-1) for values in (base, *nested.shards))
        return cls(tuple(stored), grid, tuple(fits))


def _rows(values: BlockValues, part: TensorPart) -> Rows:
    return Rows(
        part.name,
        values.tensors[part],
        math.prod(part.shape[2:]),
        values.decided.get(part, ()),
        values.held.get(part),
        values.means.get(part.name),
    )


def _floats(values: BlockValues, index: int) -> Arrays:
    """What of a level's blob stays float."""
    by_level = {name: arrays[index] for name, arrays in values.level_floats.items()}
    return by_level if index else {**values.floats, **by_level}


def _stated(shard_bits: tuple[int, ...], levels: Sequence[int]) -> tuple[int, ...]:
    """Widths of shards as the manifest states them: not at all where they are the steps."""
    return shard_bits if any(step.carry_bits for step in steps_of(levels, shard_bits)) else ()
