"""One block: from its float rows to the blobs that cross the wire."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from common.blob_codec import encode_arrays, pack_base
from common.manifest import BlobRef, Block, TensorPart
from common.nesting import steps_of
from common.packing import pack
from server.quantize.affine import Affine, quantize_rows
from server.quantize.rounding import Rounded, Rounding, Rows

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

    Raises:
        ValueError: Level floats are none of that.
    """

    tensors: Mapping[TensorPart, NDArray[np.float32]]
    floats: Mapping[str, NDArray[Any]]
    level_floats: Mapping[str, tuple[NDArray[Any], ...]] = field(default_factory=dict)
    decided: Mapping[TensorPart, tuple[Affine, ...]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.level_floats and not self.tensors:
            raise ValueError("floats follow levels, and there are none without quantized tensors")
        for name, arrays in self.level_floats.items():
            if len({(array.dtype, array.shape) for array in arrays}) != 1 or name in self.floats:
                raise ValueError(f"float {name!r} does not have one type and shape in one place")


@dataclass(frozen=True, slots=True)
class CodedBlock:
    """A block's entry in the manifest, and its blobs in the same order."""

    block: Block
    data: tuple[bytes, ...]

    def blobs(self) -> Iterator[tuple[BlobRef, bytes]]:
        """Each blob with its reference, the base first."""
        return zip(self.block.blobs, self.data, strict=True)


def encode_block(values: BlockValues, levels: Sequence[int], rounding: Rounding) -> CodedBlock:
    """Base and shards of a block; each blob carries scale, offset and floats of the level that it reaches.

    Args:
        values: What the block is made of.
        levels: Those of the block: the last ones of the version, from its base up.
        rounding: How weights come to be codes.

    Raises:
        InvalidInputError: A weight is NaN or infinite.
    """
    levels = levels if values.tensors else levels[:1]
    arrays = _floats(values, len(levels))
    digests = [hashlib.sha256() for _ in levels]
    for part, weights in values.tensors.items():
        decided = values.decided.get(part, ())
        rounded = rounding(Rows(part.name, weights, math.prod(part.shape[2:]), decided), levels)
        for index, (stored, affine) in enumerate(zip(_stored(rounded, levels), rounded.levels, strict=True)):
            arrays[index] |= _entries(part.name, stored, affine)
            digests[index].update(affine.codes.tobytes())
    coded = [encode_arrays(group, compress=index == 0) for index, group in enumerate(arrays)]
    block = Block(
        tuple(values.tensors),
        tuple(values.floats),
        tuple(ref for _, ref in coded),
        tuple(digest.hexdigest() for digest in digests),
        _stated(rounding.shard_bits(levels), levels),
        tuple(values.level_floats),
    )
    return CodedBlock(block, tuple(data for data, _ in coded))


def dedicated_bytes(values: BlockValues, level: int) -> int:
    """Wire bytes of the block in a model that is quantized for one level alone, under the same coder."""
    full = {name: by_level[-1] for name, by_level in values.level_floats.items()}
    arrays: Arrays = {f"float/{name}": array for name, array in {**values.floats, **full}.items()}
    for part, weights in values.tensors.items():
        affine = quantize_rows(weights, level, name=part.name)
        arrays |= _entries(part.name, pack_base(affine.codes, level), affine)
    return encode_arrays(arrays, compress=True)[1].size_bytes


def _floats(values: BlockValues, levels: int) -> list[Arrays]:
    """What of each level's blob stays float."""
    arrays: list[Arrays] = [{} for _ in range(levels)]
    arrays[0] |= {f"float/{name}": array for name, array in values.floats.items()}
    for name, by_level in values.level_floats.items():
        for group, array in zip(arrays, by_level, strict=True):
            group[f"float/{name}"] = array
    return arrays


def _stated(shard_bits: tuple[int, ...], levels: Sequence[int]) -> tuple[int, ...]:
    """Widths of shards as the manifest states them: not at all where they are the steps."""
    return shard_bits if any(step.carry_bits for step in steps_of(levels, shard_bits)) else ()


def _stored(rounded: Rounded, levels: Sequence[int]) -> Iterator[NDArray[np.uint8]]:
    yield pack_base(rounded.nested.base, levels[0])
    for shard, bits in zip(rounded.nested.shards, rounded.nested.shard_bits, strict=True):
        yield pack(shard, bits)


def _entries(name: str, stored: NDArray[np.uint8], affine: Affine) -> Arrays:
    return {f"codes/{name}": stored, f"scale/{name}": affine.scale, f"offset/{name}": affine.offset}
