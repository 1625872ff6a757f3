"""A block's way between disk and memory: base in, shards in on top of it, shards out again.

Every code that enters is checked twice: its blob by the blob's digest, and the assembled codes by the
manifest's digest of that level. Levels are those of the version; a block whose base is above a wanted level
stays at its base.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from common.blob_codec import decode_arrays
from common.errors import IntegrityError
from common.manifest import Block
from device_agent.residency import block_arrays
from device_agent.residency.bit_planes import pack_codes, unpack_codes
from device_agent.residency.code_steps import lift_codes, lower_codes
from device_agent.residency.resident import ResidentBlock, ResidentPart

ReadBlob = Callable[[str], bytes | memoryview]


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
    block_arrays.check_names(block, arrays, base=True)
    own = block.levels(levels)[:1]
    unsigned = [block_arrays.base_codes(arrays, part, own[0]) for part in block.tensors]
    _check_codes(block, 0, own[0], unsigned)
    base = ResidentBlock(
        levels=own,
        parts=tuple(
            ResidentPart(part, pack_codes(codes, own[0]), own, (block_arrays.affine(arrays, part),))
            for part, codes in zip(block.tensors, unsigned, strict=True)
        ),
        floats=block_arrays.floats(arrays, block.floats),
        codes_digest=block.codes_digests[0],
        level_floats={
            name: (value,) for name, value in block_arrays.floats(arrays, block.level_floats).items()
        },
    )
    return lift_block(block, levels, base, level, read)


def lift_block(
    block: Block, levels: Sequence[int], resident: ResidentBlock, level: int, read: ReadBlob
) -> ResidentBlock:
    """The block at a higher level, its shards read from disk; ``resident`` stays as it is.

    Raises:
        IntegrityError: A shard or what it yields are not what the manifest says.
    """
    own = block.levels(levels)
    count, reached = len(resident.levels), own.index(block.nearest(levels, level)) + 1
    if reached <= count:
        return resident
    unsigned = [unpack_codes(part.codes) for part in resident.parts]
    affines = [list(part.affines) for part in resident.parts]
    carries = [list(part.carries) for part in resident.parts]
    floats = {name: list(values) for name, values in resident.level_floats.items()}
    steps = block.steps(levels)
    for index in range(count, reached):
        arrays = decode_arrays(read(block.blobs[index].digest), block.blobs[index])
        block_arrays.check_names(block, arrays, base=False)
        step = steps[index - 1]
        for at, part in enumerate(block.tensors):
            shard = block_arrays.shard_values(arrays, part, step)
            unsigned[at], carry = lift_codes(unsigned[at], shard, step)
            carries[at].append(carry)
            affines[at].append(block_arrays.affine(arrays, part))
        for name, values in floats.items():
            values.append(block_arrays.next_float(arrays, name, values[-1]))
        _check_codes(block, index, own[index], unsigned)
    now = own[:reached]
    parts = tuple(
        ResidentPart(part, pack_codes(codes, now[-1]), now, tuple(part_affines), tuple(part_carries))
        for part, codes, part_affines, part_carries in zip(
            block.tensors, unsigned, affines, carries, strict=True
        )
    )
    level_floats = {name: tuple(values) for name, values in floats.items()}
    return ResidentBlock(now, parts, resident.floats, block.codes_digests[reached - 1], level_floats)


def lower_block(block: Block, levels: Sequence[int], resident: ResidentBlock, level: int) -> ResidentBlock:
    """The block at a lower level, from memory alone; ``resident`` stays as it is."""
    own = block.levels(levels)
    index = own.index(block.nearest(levels, level))
    now = own[: index + 1]
    if resident.level <= now[-1]:
        return resident
    parts = tuple(
        ResidentPart(
            part.part,
            lower_codes(part.codes, part.carries, own, now[-1]),
            now,
            part.affines[: index + 1],
            part.carries[:index],
        )
        for part in resident.parts
    )
    level_floats = {name: values[: index + 1] for name, values in resident.level_floats.items()}
    return ResidentBlock(now, parts, resident.floats, block.codes_digests[index], level_floats)


def shard_bytes(block: Block, levels: Sequence[int], low: int, high: int) -> int:
    """Wire bytes of the shards that lift a block from one level to another; 0 for a step down."""
    own = block.levels(levels)
    return sum(
        ref.size_bytes for ref, reached in zip(block.blobs[1:], own[1:], strict=True) if low < reached <= high
    )


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
