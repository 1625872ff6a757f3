"""One block: from its float rows to the blobs that cross the wire."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from common.blob_codec import encode_arrays, pack_base
from common.manifest import BlobRef, Block, TensorPart
from common.nesting import Nested, join
from common.packing import pack
from server.quantize.affine import Affine, quantize_rows
from server.quantize.refit import refit
from server.quantize.rounding import Rounding

Arrays = dict[str, NDArray[Any]]


@dataclass(frozen=True, slots=True)
class BlockValues:
    """What a block is made of, in memory.

    Attributes:
        tensors: Rows of quantized tensors: float32 [rows, row_weights].
        floats: Tensors that stay as they are.
    """

    tensors: Mapping[TensorPart, NDArray[np.float32]]
    floats: Mapping[str, NDArray[Any]]


@dataclass(frozen=True, slots=True)
class CodedBlock:
    """A block's entry in the manifest, and its blobs in the same order."""

    block: Block
    data: tuple[bytes, ...]

    def blobs(self) -> Iterator[tuple[BlobRef, bytes]]:
        """Each blob with its reference, the base first."""
        return zip(self.block.blobs, self.data, strict=True)


def encode_block(values: BlockValues, levels: Sequence[int], rounding: Rounding) -> CodedBlock:
    """Base and shards of a block; each blob carries scale and offset of the level that it reaches.

    Raises:
        InvalidInputError: A weight is NaN or infinite.
    """
    levels = levels if values.tensors else levels[:1]
    arrays: list[Arrays] = [{} for _ in levels]
    arrays[0] |= {f"float/{name}": array for name, array in values.floats.items()}
    digests = [hashlib.sha256() for _ in levels]
    for part, weights in values.tensors.items():
        full = quantize_rows(weights, levels[-1], name=part.name)
        nested = rounding(full, weights, levels)
        for index, stored in enumerate(_stored(nested, levels)):
            fitted = _fitted(full, nested, weights, levels, index)
            arrays[index] |= _entries(part.name, stored, fitted)
            digests[index].update(fitted.codes.tobytes())
    coded = [encode_arrays(group, compress=index == 0) for index, group in enumerate(arrays)]
    block = Block(
        tuple(values.tensors),
        tuple(values.floats),
        tuple(ref for _, ref in coded),
        tuple(digest.hexdigest() for digest in digests),
    )
    return CodedBlock(block, tuple(data for data, _ in coded))


def dedicated_bytes(values: BlockValues, level: int) -> int:
    """Wire bytes of the block in a model that is quantized for one level alone, under the same coder."""
    arrays: Arrays = {f"float/{name}": array for name, array in values.floats.items()}
    for part, weights in values.tensors.items():
        affine = quantize_rows(weights, level, name=part.name)
        arrays |= _entries(part.name, pack_base(affine.codes, level), affine)
    return encode_arrays(arrays, compress=True)[1].size_bytes


def _stored(nested: Nested, levels: Sequence[int]) -> Iterator[NDArray[np.uint8]]:
    yield pack_base(nested.base, levels[0])
    for shard, (low, high) in zip(nested.shards, pairwise(levels), strict=True):
        yield pack(shard, high - low)


def _fitted(
    full: Affine, nested: Nested, weights: NDArray[np.float32], levels: Sequence[int], index: int
) -> Affine:
    """Codes of a level with its scale and offset; the full-bit level is the plain INT-n model as it is."""
    codes = join(nested.base, nested.shards[:index], levels)
    if levels[index] == levels[-1]:
        return Affine(codes, full.scale, full.offset)
    return refit(codes, weights, full.scale * np.float32(1 << (levels[-1] - levels[index])))


def _entries(name: str, stored: NDArray[np.uint8], affine: Affine) -> Arrays:
    return {f"codes/{name}": stored, f"scale/{name}": affine.scale, f"offset/{name}": affine.offset}
