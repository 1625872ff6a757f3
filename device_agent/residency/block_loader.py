"""A block's way between disk and memory: base in, shards in on top of it, shards out again.

Every code that enters is checked twice: its blob by the blob's digest, and the assembled codes by the
manifest's digest of that level.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from common.blob_codec import decode_arrays, unpack_base
from common.errors import IntegrityError
from common.manifest import Block, TensorPart
from common.nesting import Step
from common.packing import unpack
from device_agent.residency.bit_planes import pack_codes, unpack_codes
from device_agent.residency.code_steps import lift_codes, lower_codes
from device_agent.residency.resident import Affine, ResidentBlock, ResidentPart

ReadBlob = Callable[[str], bytes | memoryview]
Arrays = Mapping[str, NDArray[Any]]


def load_block(block: Block, levels: Sequence[int], level: int, read: ReadBlob) -> ResidentBlock:
    """A block from disk at a level.

    Args:
        block: What the manifest says of it.
        levels: All levels of the version.
        level: One of them; a block without quantized tensors has only the base.
        read: Digest to the blob's wire bytes, which need not be verified yet.

    Raises:
        IntegrityError: A blob or the codes it yields are not what the manifest says.
    """
    arrays = decode_arrays(read(block.blobs[0].digest), block.blobs[0])
    _check_names(block, arrays, floats=block.floats)
    unsigned = [_base_codes(arrays, part, levels[0]) for part in block.tensors]
    _check_codes(block, 0, levels[0], unsigned)
    base = ResidentBlock(
        level=levels[0],
        parts=tuple(
            ResidentPart(part, pack_codes(codes, levels[0]), (_affine(arrays, part),))
            for part, codes in zip(block.tensors, unsigned, strict=True)
        ),
        floats={name: arrays[f"float/{name}"].copy() for name in block.floats},
        codes_digest=block.codes_digests[0],
    )
    return lift_block(block, levels, base, level, read) if block.tensors else base


def lift_block(
    block: Block, levels: Sequence[int], resident: ResidentBlock, level: int, read: ReadBlob
) -> ResidentBlock:
    """The block at a higher level, its shards read from disk; ``resident`` stays as it is.

    Raises:
        IntegrityError: A shard or the codes it yields are not what the manifest says.
    """
    low_index, high_index = levels.index(resident.level), levels.index(level)
    if high_index <= low_index:
        return resident
    unsigned = [unpack_codes(part.codes) for part in resident.parts]
    affines = [list(part.affines) for part in resident.parts]
    carries = [list(part.carries) for part in resident.parts]
    steps = block.steps(levels)
    for index in range(low_index + 1, high_index + 1):
        arrays = decode_arrays(read(block.blobs[index].digest), block.blobs[index])
        _check_names(block, arrays, floats=())
        step = steps[index - 1]
        for at, part in enumerate(block.tensors):
            shard = _shard(arrays, part, step)
            unsigned[at], carry = lift_codes(unsigned[at], shard, step)
            carries[at].append(carry)
            affines[at].append(_affine(arrays, part))
        _check_codes(block, index, levels[index], unsigned)
    parts = tuple(
        ResidentPart(part, pack_codes(codes, level), tuple(part_affines), tuple(part_carries))
        for part, codes, part_affines, part_carries in zip(
            block.tensors, unsigned, affines, carries, strict=True
        )
    )
    return ResidentBlock(level, parts, resident.floats, block.codes_digests[high_index])


def lower_block(block: Block, levels: Sequence[int], resident: ResidentBlock, level: int) -> ResidentBlock:
    """The block at a lower level, from memory alone; ``resident`` stays as it is."""
    index = levels.index(level)
    if not resident.parts or resident.level <= level:
        return resident
    parts = tuple(
        ResidentPart(
            part.part,
            lower_codes(part.codes, part.carries, levels, level),
            part.affines[: index + 1],
            part.carries[:index],
        )
        for part in resident.parts
    )
    return ResidentBlock(level, parts, resident.floats, block.codes_digests[index])


def shard_bytes(block: Block, levels: Sequence[int], low: int, high: int) -> int:
    """Wire bytes of the shards that lift a block from one level to another; 0 for a step down."""
    return sum(
        ref.size_bytes
        for ref, (_, reached) in zip(block.blobs[1:], pairwise(levels), strict=False)
        if low < reached <= high
    )


def _base_codes(arrays: Arrays, part: TensorPart, level: int) -> NDArray[np.uint8]:
    stored = _array(arrays, f"codes/{part.name}", np.uint8)
    codes = unpack_base(stored, level, part.weights).view(np.uint8)
    return np.add(codes, np.uint8(1 << (level - 1)), out=codes)


def _shard(arrays: Arrays, part: TensorPart, step: Step) -> NDArray[np.uint8]:
    return unpack(_array(arrays, f"codes/{part.name}", np.uint8), step.shard_bits, part.weights)


def _affine(arrays: Arrays, part: TensorPart) -> Affine:
    scale = _array(arrays, f"scale/{part.name}", np.float32)
    offset = _array(arrays, f"offset/{part.name}", np.float32)
    if scale.size != part.rows or offset.size != part.rows:
        raise IntegrityError(
            f"Tensor {part.name!r} has {scale.size} scales and {offset.size} offsets for {part.rows} rows."
        )
    if not (np.isfinite(scale).all() and np.isfinite(offset).all()):
        raise IntegrityError(f"Tensor {part.name!r} has a scale or offset that is no finite number.")
    return Affine(scale.copy(), offset.copy())


def _array(arrays: Arrays, key: str, dtype: type[Any]) -> NDArray[Any]:
    array = arrays[key]
    if array.dtype != dtype or array.ndim != 1:
        raise IntegrityError(f"{key!r} is {array.dtype} {list(array.shape)}, not flat {np.dtype(dtype)}.")
    return array


def _check_names(block: Block, arrays: Arrays, *, floats: Sequence[str]) -> None:
    expected = {f"{kind}/{part.name}" for part in block.tensors for kind in ("codes", "scale", "offset")}
    expected |= {f"float/{name}" for name in floats}
    if set(arrays) != expected:
        odd = min(expected.symmetric_difference(arrays))
        raise IntegrityError(f"A blob and its manifest disagree on {odd!r}.")


def _check_codes(block: Block, index: int, level: int, unsigned: Sequence[NDArray[np.uint8]]) -> None:
    hasher = hashlib.sha256()
    for codes in unsigned:
        hasher.update(np.subtract(codes, np.uint8(1 << (level - 1))).data)
    if hasher.hexdigest() != block.codes_digests[index]:
        raise IntegrityError(
            f"The codes at {level} bits are not those that the manifest names.",
            expected=block.codes_digests[index],
            actual=hasher.hexdigest(),
        )
