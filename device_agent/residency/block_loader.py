"""A block's way between disk and memory: base in, shards in on top of it, shards out again.

All that enters is checked twice: its blob by the blob's digest, and what is assembled at a level (codes,
scales, offsets, floats) by the manifest's digest of that level. Levels are those of the version; a block
whose base is above a wanted level stays at its base.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from common.block_codec import Content, affine_of, decode, level_digest, shape_of
from common.errors import IntegrityError
from common.manifest import Block
from common.rows import Affine
from device_agent.residency.bit_planes import PackedCodes, pack_codes
from device_agent.residency.code_steps import lift_codes, lower_codes
from device_agent.residency.codes import ByteCodes, Codes
from device_agent.residency.level_floats import check_finite, next_float
from device_agent.residency.resident import ResidentBlock, ResidentPart

ReadBlob = Callable[[str], bytes | memoryview]


def load_block(
    block: Block, levels: Sequence[int], level: int, read: ReadBlob, unpacked: Collection[str] = ()
) -> ResidentBlock:
    """A block from disk at a level.

    Args:
        block: What the manifest says of it.
        levels: All levels of the version.
        level: One of them; a block without quantized tensors has only the base.
        read: Digest to the blob's wire bytes, which need not be verified yet.
        unpacked: Names of tensors that take a byte a weight; the others are packed.

    Raises:
        IntegrityError: A blob or what it yields is not what the manifest says.
    """
    content = _content(block, levels, 0, read)
    own = block.levels(levels)[:1]
    affines = _affines(block, levels, 0, content, content)
    _check(block, levels, 0, content.values, affines, content.floats)
    base = ResidentBlock(
        levels=own,
        parts=tuple(
            ResidentPart(part, _held(values, own[0], part.name in unpacked), own, (affine,), grid)
            for part, values, affine, grid in zip(
                block.tensors, content.values, affines, content.grids, strict=True
            )
        ),
        floats={name: content.floats[name] for name in block.floats},
        digest=block.digests[0],
        level_floats={name: (content.floats[name],) for name in block.level_floats},
    )
    return lift_block(block, levels, base, level, read)


def lift_block(
    block: Block, levels: Sequence[int], resident: ResidentBlock, level: int, read: ReadBlob
) -> ResidentBlock:
    """The block at a higher level, its shards read from disk; ``resident`` stays as it is.

    Raises:
        IntegrityError: A shard or what it yields is not what the manifest says.
    """
    own = block.levels(levels)
    count, reached = len(resident.levels), own.index(block.nearest(levels, level)) + 1
    if reached <= count:
        return resident
    unsigned = [part.codes.unsigned() for part in resident.parts]
    affines = [list(part.affines) for part in resident.parts]
    carries = [list(part.carries) for part in resident.parts]
    floats = {name: list(values) for name, values in resident.level_floats.items()}
    grids = Content((), tuple(part.grid for part in resident.parts))
    steps = block.steps(levels)
    for index in range(count, reached):
        content = _content(block, levels, index, read)
        at_level = _affines(block, levels, index, grids, content)
        for at, values in enumerate(content.values):
            unsigned[at], carry = lift_codes(unsigned[at], values, steps[index - 1])
            carries[at].append(carry)
            affines[at].append(at_level[at])
        for name, by_level in floats.items():
            by_level.append(next_float(name, content.floats[name], by_level[-1]))
        _check(block, levels, index, unsigned, at_level, content.floats)
    now = own[:reached]
    parts = tuple(
        ResidentPart(
            part.part,
            _like(part.codes, codes, now[-1]),
            now,
            tuple(part_affines),
            part.grid,
            tuple(part_carries),
        )
        for part, codes, part_affines, part_carries in zip(
            resident.parts, unsigned, affines, carries, strict=True
        )
    )
    level_floats = {name: tuple(values) for name, values in floats.items()}
    return ResidentBlock(now, parts, resident.floats, block.digests[reached - 1], level_floats)


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
            _like(part.codes, lower_codes(part.codes, part.carries, own, now[-1]), now[-1]),
            now,
            part.affines[: index + 1],
            part.grid,
            part.carries[:index],
        )
        for part in resident.parts
    )
    level_floats = {name: values[: index + 1] for name, values in resident.level_floats.items()}
    return ResidentBlock(now, parts, resident.floats, block.digests[index], level_floats)


def reform_block(resident: ResidentBlock, unpacked: Collection[str]) -> ResidentBlock:
    """The same block, each tensor in the form that it shall have; ``resident`` stays as it is."""
    if not any(is_unpacked(part) != (part.part.name in unpacked) for part in resident.parts):
        return resident
    parts = tuple(_reformed(part, part.part.name in unpacked) for part in resident.parts)
    return replace(resident, parts=parts)


def is_unpacked(part: ResidentPart) -> bool:
    """Whether it takes a byte a weight, maybe in an executor's own order."""
    return not isinstance(part.codes, PackedCodes)


def _reformed(part: ResidentPart, unpacked: bool) -> ResidentPart:  # noqa: FBT001
    if is_unpacked(part) == unpacked:
        return part
    return replace(part, codes=_held(part.codes.unsigned(), part.codes.level, unpacked))


def _held(unsigned: NDArray[np.uint8], level: int, unpacked: bool) -> Codes:  # noqa: FBT001
    return ByteCodes(level, unsigned) if unpacked else pack_codes(unsigned, level)


def _like(before: Codes, unsigned: NDArray[np.uint8], level: int) -> Codes:
    """Codes at another level, in the form that they had."""
    return _held(unsigned, level, not isinstance(before, PackedCodes))


def shard_bytes(block: Block, levels: Sequence[int], low: int, high: int) -> int:
    """Wire bytes of the shards that lift a block from one level to another; 0 for a step down."""
    own = block.levels(levels)
    return sum(
        ref.size_bytes for ref, reached in zip(block.blobs[1:], own[1:], strict=True) if low < reached <= high
    )


def _content(block: Block, levels: Sequence[int], index: int, read: ReadBlob) -> Content:
    ref = block.blobs[index]
    return decode(read(ref.digest), ref, shape_of(block, levels, index))


def _affines(
    block: Block, levels: Sequence[int], index: int, base: Content, content: Content
) -> list[Affine]:
    """Scale and offset of each part at the level that a blob reaches."""
    shape = shape_of(block, levels, index)
    affines = [affine_of(grid, content.fits, at, shape) for at, grid in enumerate(base.grids)]
    for part, affine in zip(block.tensors, affines, strict=True):
        check_finite(part.name, affine)
    return affines


def _check(  # noqa: PLR0917
    block: Block,
    levels: Sequence[int],
    index: int,
    unsigned: Sequence[NDArray[np.uint8]],
    affines: Sequence[Affine],
    floats: Mapping[str, NDArray[Any]],
) -> None:
    level = block.levels(levels)[index]
    zero = np.uint8(1 << (level - 1))
    codes = (np.subtract(values, zero).view(np.int8) for values in unsigned)
    actual = level_digest(codes, affines, floats)
    if actual != block.digests[index]:
        raise IntegrityError(
            f"A block at {level} bits is not what the manifest names.",
            expected=block.digests[index],
            actual=actual,
        )
