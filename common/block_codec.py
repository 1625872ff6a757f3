"""A block's blobs: what its tensors, rows and floats become on the wire, and come back from.

Layout: a magic of four bytes, then for each section u8 form and u32 length, then the sections. Which sections
there are, and in which order, follows from the manifest's entry of the block: the values of each tensor part,
in order; in a base the scales and zero points of all rows; below the highest level the slopes and shifts of
all rows; where the blob holds floats, those, in a safetensors container. Nothing is said twice: names, shapes
and widths stand in the manifest alone.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import accumulate, pairwise
from typing import Any, Final

import numpy as np
import safetensors
import safetensors.numpy
from numpy.typing import NDArray

from common.blob_codec import decode_bytes
from common.coding.frames import compress, decompress
from common.coding.row_sections import decode_numbers, decode_scales, encode_numbers, encode_scales
from common.coding.sections import join_sections, split_sections
from common.coding.values import decode_values, encode_values
from common.digest import sha256_hex
from common.errors import IntegrityError
from common.manifest import MAX_BLOB_BYTES, BlobRef, Block, TensorPart
from common.packing import packed_size_bytes
from common.rows import Affine, Fit, Grid, at_level

CODING: Final = "block"
ROW_BYTES: Final = 8  # scale and offset in memory, float32 each
_MAGIC: Final = b"nfb2"
_RAW: Final = 0
_FRAME: Final = 1


@dataclass(frozen=True, slots=True)
class Shape:
    """What a blob holds, as the manifest says.

    Attributes:
        parts: The block's tensor parts.
        bits: Width of a value: the base's level, or the shard's width.
        carry_bits: How many of a shard's bits are beyond its step.
        base: Whether it is the base.
        level: The level that it reaches.
        full_level: The version's highest.
        floats: Names of the floats in it.
    """

    parts: tuple[TensorPart, ...]
    bits: int
    carry_bits: int
    base: bool
    level: int
    full_level: int
    floats: tuple[str, ...]

    @property
    def fitted(self) -> bool:
        """Whether its level has a fit."""
        return self.level < self.full_level

    @property
    def rows(self) -> int:
        """Output rows of all parts."""
        return sum(part.rows for part in self.parts)

    @property
    def codes_and_rows_bytes(self) -> int:
        """What packed values, and a scale and an offset for each row, take in memory."""
        return sum(packed_size_bytes(part.weights, self.bits) for part in self.parts) + ROW_BYTES * self.rows


@dataclass(frozen=True, slots=True, eq=False)
class Content:
    """What a blob says.

    Attributes:
        values: One per part: uint8 [weights]. In a base the codes with ``2**(level-1)`` added, in a shard
            what ``common.nesting`` makes.
        grids: One per part in a base; else none.
        fits: One per part below the highest level; else none.
        floats: By name.
    """

    values: tuple[NDArray[np.uint8], ...]
    grids: tuple[Grid, ...] = ()
    fits: tuple[Fit, ...] = ()
    floats: Mapping[str, NDArray[Any]] = field(default_factory=dict)


def shape_of(block: Block, version_levels: Sequence[int], index: int) -> Shape:
    """What the blob at an index of a block holds; 0 is the base."""
    levels = block.levels(version_levels)
    step = block.steps(version_levels)[index - 1] if index else None
    return Shape(
        block.tensors,
        step.shard_bits if step else levels[0],
        step.carry_bits if step else 0,
        index == 0,
        levels[index],
        version_levels[-1],
        (*block.level_floats, *(() if index else block.floats)),
    )


def encode(content: Content, shape: Shape) -> tuple[bytes, BlobRef]:
    """The wire bytes, each section in its smallest form, and the reference that names them."""
    sections: list[tuple[int, bytes]] = [
        encode_values(values, shape.bits, shape.carry_bits) for values in content.values
    ]
    sections += _row_sections(content, shape)
    raw_bytes = shape.codes_and_rows_bytes
    if shape.floats:
        raw = safetensors.numpy.save(
            {name: np.asarray(content.floats[name], order="C") for name in sorted(content.floats)}
        )
        framed = compress(raw)
        sections.append((_FRAME, framed) if len(framed) < len(raw) else (_RAW, raw))
        raw_bytes += len(raw)
    data = join_sections(_MAGIC, sections)
    return data, BlobRef(sha256_hex(data), len(data), raw_bytes, CODING)


def decode(data: bytes | memoryview, ref: BlobRef, shape: Shape) -> Content:
    """What the blob says, verified against its reference and held within what the manifest allows.

    Raises:
        IntegrityError: The bytes are not what ``ref`` names, or do not hold what ``shape`` says.
    """
    sections, content = open_blob(decode_bytes(data, ref), ref, shape)
    values = tuple(
        decode_values(form, data, shape.bits, part.weights, shape.carry_bits)
        for part, (form, data) in zip(shape.parts, sections, strict=True)
    )
    return replace(content, values=values)


def open_blob(
    data: bytes | memoryview, ref: BlobRef, shape: Shape
) -> tuple[list[tuple[int, memoryview]], Content]:
    """A verified blob's sections of values, one per part, still encoded; and all else that it says.

    Args:
        data: What ``decode_bytes`` gave.
        ref: The blob.
        shape: What it holds.

    Raises:
        IntegrityError: The bytes do not hold what ``shape`` says.
    """
    sections = split_sections(_MAGIC, data, _count(shape))
    rest = iter(sections[len(shape.parts) :])
    grids = _grids(rest, shape) if shape.base and shape.parts else ()
    fits = _fits(rest, shape) if shape.fitted and shape.parts else ()
    floats_bytes = ref.raw_size_bytes - shape.codes_and_rows_bytes
    floats = _floats(next(rest), shape, floats_bytes) if shape.floats else {}
    if not shape.floats and floats_bytes:
        raise IntegrityError(f"Blob {ref.digest[:12]} holds another amount than the manifest states.")
    return sections[: len(shape.parts)], Content((), grids, fits, floats)


def decode_blobs(
    block: Block,
    version_levels: Sequence[int],
    read: Callable[[str], bytes | memoryview],
    count: int | None = None,
) -> list[Content]:
    """What the first blobs of a block say, the base first.

    Args:
        block: The block.
        version_levels: All levels of the version.
        read: A blob's bytes by digest.
        count: How many blobs; None for all.

    Raises:
        IntegrityError: The bytes of one are not what its reference names, or do not hold what they should.
    """
    return [
        decode(read(ref.digest), ref, shape_of(block, version_levels, index))
        for index, ref in enumerate(block.blobs[:count])
    ]


def affine_of(grid: Grid, fits: Sequence[Fit], at: int, shape: Shape) -> Affine:
    """Scale and offset of one part at the level that a blob reaches.

    Args:
        grid: The part's, from the base.
        fits: Those of the blob.
        at: The part's index.
        shape: The blob's.
    """
    if not shape.fitted:
        return grid.affine()
    return at_level(grid, fits[at], shape.level, shape.full_level, shape.parts[at].row_weights)


def level_digest(
    codes: Iterable[NDArray[np.int8]],
    affines: Iterable[Affine],
    floats: Mapping[str, NDArray[Any]],
) -> str:
    """What names a block at a level, however it came there: SHA-256, 64 hex digits.

    Args:
        codes: int8, C order, one per part, in the manifest's order.
        affines: One per part: scale and offset at the level.
        floats: Those of the level; in a base also those that are the same at each.
    """
    hasher = hashlib.sha256()
    for array in codes:
        hasher.update(array.data)
    for affine in affines:
        hasher.update(affine.scale.astype("<f4").data)
        hasher.update(affine.offset.astype("<f4").data)
    for name in sorted(floats):
        value = np.asarray(floats[name], order="C")
        hasher.update(f"{name}\0{value.dtype.str}{list(value.shape)}\0".encode())
        hasher.update(value.tobytes())
    return hasher.hexdigest()


def _count(shape: Shape) -> int:
    about_rows = (2 * shape.base + 2 * shape.fitted) if shape.parts else 0
    return len(shape.parts) + about_rows + bool(shape.floats)


def _row_sections(content: Content, shape: Shape) -> Iterator[tuple[int, bytes]]:
    if not shape.parts:
        return
    if shape.base:
        yield encode_scales(np.concatenate([grid.scale for grid in content.grids]))
        yield encode_numbers(np.concatenate([grid.zero for grid in content.grids]))
    if shape.fitted:
        yield encode_numbers(np.concatenate([fit.slope for fit in content.fits]))
        yield encode_numbers(np.concatenate([fit.shift for fit in content.fits]))


def _grids(sections: Iterator[tuple[int, memoryview]], shape: Shape) -> tuple[Grid, ...]:
    scale = decode_scales(*next(sections), shape.rows)
    zero = decode_numbers(*next(sections), shape.rows)
    if zero.size and (int(zero.min()) < -128 or int(zero.max()) > 127):  # noqa: PLR2004
        raise IntegrityError("A zero point is no code.")
    whole = Grid(scale, zero.astype(np.int8))
    return tuple(whole[rows] for rows in _rows(shape))


def _fits(sections: Iterator[tuple[int, memoryview]], shape: Shape) -> tuple[Fit, ...]:
    whole = Fit(decode_numbers(*next(sections), shape.rows), decode_numbers(*next(sections), shape.rows))
    return tuple(whole[rows] for rows in _rows(shape))


def _rows(shape: Shape) -> Iterator[slice]:
    bounds = accumulate((part.rows for part in shape.parts), initial=0)
    return (slice(low, high) for low, high in pairwise(bounds))


def _floats(section: tuple[int, memoryview], shape: Shape, raw_bytes: int) -> dict[str, NDArray[Any]]:
    form, data = section
    if not 0 < raw_bytes <= MAX_BLOB_BYTES or form not in (_RAW, _FRAME):
        raise IntegrityError("A blob's floats have an unknown form or no size.")
    raw = decompress(data, raw_bytes) if form == _FRAME else bytes(data)
    try:
        floats: dict[str, NDArray[Any]] = safetensors.numpy.load(raw)
    except (safetensors.SafetensorError, ValueError, KeyError) as error:
        raise IntegrityError(f"A blob's floats are no safetensors container: {error}.") from error
    if len(raw) != raw_bytes or set(floats) != set(shape.floats):
        odd = min(set(shape.floats).symmetric_difference(floats), default="their size")
        raise IntegrityError(f"A blob and its manifest disagree on {odd!r}.")
    return floats
