"""A block's way between disk and memory: base in, shards in on top of it, shards out again.

Every blob is held against its digest before a byte of it is decoded, by whoever reads it. What base and
shards yield together (codes, scales, offsets, floats) is held against the manifest's digest of that level
when a block is loaded. When a shard is paged in it is not: the shard's own digest takes a quarter of the
time, and what is right below is then right above. Levels are those of the version; a block whose base is
above a wanted level stays at its base.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from typing import Any

from numpy.typing import NDArray

from common.block_codec import Content, level_digest, shape_of
from common.coding.values import decode_values
from common.errors import IntegrityError
from common.manifest import Block
from device_agent.residency.code_steps import lift_codes, lower_codes, signed_chunks
from device_agent.residency.codes import ByteCodes, is_unpacked
from device_agent.residency.level_floats import check_scales, next_float
from device_agent.residency.resident import ResidentBlock, ResidentPart
from device_agent.residency.row_scales import RowScales
from device_agent.residency.shard_values import shard_values

ReadBlob = Callable[[str], bytes | memoryview]
"""Digest to a blob's wire bytes on this device, which need not be verified yet."""

Opened = tuple[list[tuple[int, memoryview]], Content]
"""A verified blob's sections of values, and all else that it says; see ``common.block_codec.open_blob``."""

OpenBlob = Callable[[Block, int], Opened]
"""Opens a blob of a block by its index; raises IntegrityError where it is not what the manifest says."""


def load_block(
    block: Block, levels: Sequence[int], level: int, opened: OpenBlob, unpacked: Collection[str] = ()
) -> ResidentBlock:
    """A block from disk at a level.

    Args:
        block: What the manifest says of it.
        levels: All levels of the version.
        level: One of them; a block without quantized tensors has only the base.
        opened: Asked for its blobs, the base first.
        unpacked: Names of tensors that take a byte a weight; the others are packed.

    Raises:
        IntegrityError: A blob or what it yields is not what the manifest says.
    """
    base = _base(block, levels, opened)
    loaded = reform_block(lift_block(block, levels, base, level, opened, unpacked), unpacked)
    _check(loaded)
    return loaded


def lift_block(  # noqa: PLR0917
    block: Block,
    levels: Sequence[int],
    resident: ResidentBlock,
    level: int,
    opened: OpenBlob,
    unpacked: Collection[str],
) -> ResidentBlock:
    """The block at a higher level; ``resident`` stays as it is.

    ``opened`` is asked for the shards between, lowest first.

    Raises:
        IntegrityError: A shard or what it yields is not what the manifest says.
    """
    own = block.levels(levels)
    indices = range(len(resident.levels), own.index(block.nearest(levels, level)) + 1)
    if not indices:
        return resident
    blobs = [opened(block, at) for at in indices]
    floats = {name: list(values) for name, values in resident.level_floats.items()}
    for _, content in blobs:
        for name, by_level in floats.items():
            by_level.append(next_float(name, content.floats[name], by_level[-1]))
    now, steps = own[: indices.stop], block.steps(levels)
    parts = []
    for at, part in enumerate(resident.parts):
        values = [
            (steps[index - 1], shard_values(*sections[at], steps[index - 1], part.part.weights))
            for index, (sections, _) in zip(indices, blobs, strict=True)
        ]
        codes, carries = lift_codes(part.codes, values, unpacked=part.part.name in unpacked)
        affines = part.affines
        for index, (_, content) in zip(indices, blobs, strict=True):
            affines = affines.lifted(own[index], content.fits[at : at + 1])
            check_scales(part.part.name, affines)
        parts.append(ResidentPart(part.part, codes, now, affines, part.grid, (*part.carries, *carries)))
    level_floats = {name: tuple(values) for name, values in floats.items()}
    return ResidentBlock(now, tuple(parts), resident.floats, block.digests[indices[-1]], level_floats)


def lower_block(
    block: Block, levels: Sequence[int], resident: ResidentBlock, level: int, unpacked: Collection[str]
) -> ResidentBlock:
    """The block at a lower level, from memory alone; ``resident`` stays as it is."""
    own = block.levels(levels)
    index = own.index(block.nearest(levels, level))
    now = own[: index + 1]
    if resident.level <= now[-1]:
        return resident
    parts = tuple(
        ResidentPart(
            part.part,
            lower_codes(part.codes, part.carries, own, now[-1], unpacked=part.part.name in unpacked),
            now,
            part.affines.lowered(index + 1),
            part.grid,
            part.carries[:index],
        )
        for part in resident.parts
    )
    level_floats = {name: values[: index + 1] for name, values in resident.level_floats.items()}
    return ResidentBlock(now, parts, resident.floats, block.digests[index], level_floats)


def reform_block(resident: ResidentBlock, unpacked: Collection[str]) -> ResidentBlock:
    """The same block, each tensor in the form that it shall have; ``resident`` stays as it is."""
    parts = tuple(_reformed(part, unpacked=part.part.name in unpacked) for part in resident.parts)
    if all(now is before for now, before in zip(parts, resident.parts, strict=True)):
        return resident
    return replace(resident, parts=parts)


def shard_indices(block: Block, levels: Sequence[int], low: int, high: int) -> range:
    """Indices of the shards that lift a block from one level to another; none for a step down."""
    own = block.levels(levels)
    return range(own.index(low) + 1, own.index(high) + 1)


def _base(block: Block, levels: Sequence[int], opened: OpenBlob) -> ResidentBlock:
    """The block at its base, a byte a weight."""
    shape = shape_of(block, levels, 0)
    sections, content = opened(block, 0)
    parts = []
    for at, (part, (form, data)) in enumerate(zip(block.tensors, sections, strict=True)):
        grid = content.grids[at]
        affines = RowScales(grid, (), (), shape.full_level, part.row_weights)
        affines = affines.lifted(shape.level, content.fits[at : at + 1])
        check_scales(part.name, affines)
        codes = ByteCodes(shape.level, decode_values(form, data, shape.bits, part.weights))
        parts.append(ResidentPart(part, codes, (shape.level,), affines, grid))
    return ResidentBlock(
        levels=block.levels(levels)[:1],
        parts=tuple(parts),
        floats={name: content.floats[name] for name in block.floats},
        digest=block.digests[0],
        level_floats={name: (content.floats[name],) for name in block.level_floats},
    )


def _reformed(part: ResidentPart, *, unpacked: bool) -> ResidentPart:
    if is_unpacked(part.codes) == unpacked:
        return part
    codes = lower_codes(part.codes, part.carries, part.levels, part.codes.level, unpacked=unpacked)
    return replace(part, codes=codes)


def _check(loaded: ResidentBlock) -> None:
    """Accept a block that is at its level what the manifest names."""
    floats: dict[str, NDArray[Any]] = {} if len(loaded.levels) > 1 else dict(loaded.floats)
    floats |= {name: values[-1] for name, values in loaded.level_floats.items()}
    actual = level_digest(
        (some for part in loaded.parts for some in signed_chunks(part.codes)),
        (part.affines[-1] for part in loaded.parts),
        floats,
    )
    if actual != loaded.digest:
        raise IntegrityError(
            f"A block at {loaded.level} bits is not what the manifest names.",
            expected=loaded.digest,
            actual=actual,
        )
