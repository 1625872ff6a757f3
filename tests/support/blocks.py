"""Versions of random codes: blocks, blobs and a manifest without a model behind them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain, product
from typing import Any

import numpy as np
from numpy.typing import NDArray

from common.blob_codec import encode_bytes
from common.block_codec import Content, encode, level_digest, shape_of
from common.manifest import BlobRef, Block, Manifest, TensorPart
from common.nesting import Nested, Step, nest, split, steps_of
from common.rows import Affine, Fit, Grid, at_level

_NOTHING = encode_bytes(b"{}", compress=False)[1]


@dataclass
class RandomVersion:
    """A manifest, the blobs that it names, and the codes, scales and offsets that went in.

    ``codes`` is tensor name to its codes [rows, row weights] at each level, ``affines`` tensor name and level
    to scale and offset, both over the whole tensor; ``level_floats`` name and level to the value.
    """

    manifest: Manifest
    blobs: dict[str, bytes]
    codes: dict[str, list[NDArray[np.int8]]]
    affines: dict[tuple[str, int], Affine]
    grids: dict[str, Grid]
    fits: dict[tuple[str, int], Fit]
    floats: dict[str, NDArray[Any]]
    level_floats: dict[tuple[str, int], NDArray[np.float32]] = field(default_factory=dict)
    reads: list[str] = field(default_factory=list)

    def read(self, digest: str) -> bytes:
        self.reads.append(digest)
        return self.blobs[digest]

    def expected(self, name: str, level: int) -> NDArray[np.float32]:
        """Dequantized weights of a tensor, flat rows."""
        affine = self.affines[name, level]
        codes = self.codes[name][self.manifest.levels.index(level)]
        return codes.astype(np.float32) * affine.scale[:, None] + affine.offset[:, None]


def random_version(
    levels: Sequence[int],
    blocks: Sequence[tuple[Sequence[TensorPart], Mapping[str, NDArray[Any]]]],
    *,
    seed: int = 0,
    carry_bits: int = 0,
    bases: Sequence[int] = (),
    level_floats: Mapping[int, Sequence[str]] | None = None,
    drift: int = 0,
) -> RandomVersion:
    """A version with the given parts and floats in each block, its shards so much wider than their steps.

    Args:
        levels: Of the version.
        blocks: Parts and floats of each.
        seed: Of all values.
        carry_bits: Width of shards beyond their steps.
        bases: Level of each block's base; none for the lowest throughout.
        level_floats: Index of a block to the names of floats that it has at each of its levels.
        drift: Seed of small changes to some codes, as a little training makes; 0 for none. Plain steps only.
    """
    rng = np.random.default_rng(seed)
    version = RandomVersion(
        Manifest("random", 1, tuple(levels), "floor", _NOTHING, _NOTHING, ()), {}, {}, {}, {}, {}, {}
    )
    steps = _steps(levels, carry_bits)
    for parts, _ in blocks:
        for part in parts:
            if part.name not in version.codes:
                version.codes[part.name] = _codes(rng, (part.shape[0], part.row_weights), levels, steps)
                if drift:
                    version.codes[part.name] = _drifted(version.codes[part.name], levels, drift)
                _rows(rng, version, part)
    names = level_floats or {}
    for name, level in product(chain(*names.values()), levels):
        version.level_floats[name, level] = rng.standard_normal(5).astype(np.float32)
    made = []
    for index, contents in enumerate(blocks):
        own = [level for level in levels if not bases or level >= bases[index]]
        made.append(_block(version, own, carry_bits, contents, names.get(index, ())))
    version.manifest = Manifest("random", 1, tuple(levels), "floor", _NOTHING, _NOTHING, tuple(made))
    return version


def _rows(rng: np.random.Generator, version: RandomVersion, part: TensorPart) -> None:
    """Grid, fits and so scales and offsets of a whole tensor."""
    levels, rows = version.manifest.levels, part.shape[0]
    grid = Grid(rng.uniform(0.01, 2, rows).astype(np.float32), rng.integers(-128, 128, rows).astype(np.int8))
    version.grids[part.name] = grid
    version.affines[part.name, levels[-1]] = grid.affine()
    for level in levels[:-1]:
        draw = rng.integers(-63, 200, (2, rows)).astype(np.int16)
        fit = version.fits[part.name, level] = Fit(draw[0], draw[1])
        version.affines[part.name, level] = at_level(grid, fit, level, levels[-1], part.row_weights)


def _steps(levels: Sequence[int], carry_bits: int) -> list[Step]:
    return [Step(step.low, step.high, min(step.bits + carry_bits, 8)) for step in steps_of(levels)]


def _codes(
    rng: np.random.Generator, shape: tuple[int, int], levels: Sequence[int], steps: Sequence[Step]
) -> list[NDArray[np.int8]]:
    """Codes of every level; those of plain steps are each other's high bits."""
    half = 1 << (levels[0] - 1)
    codes = [rng.integers(-half, half, shape).astype(np.int8)]
    for step in steps:
        lows = rng.integers(0, 1 << step.shard_bits, shape) - step.shard_zero
        half = 1 << (step.high - 1)
        codes.append(np.clip(codes[-1] * (1 << step.bits) + lows, -half, half - 1).astype(np.int8))
    return codes


def _drifted(codes: Sequence[NDArray[np.int8]], levels: Sequence[int], seed: int) -> list[NDArray[np.int8]]:
    """Codes of every level after one full-bit code in ten has moved by one."""
    rng = np.random.default_rng(seed)
    moves = rng.choice([-1, 0, 1], codes[-1].shape, p=[0.05, 0.9, 0.05])
    half = 1 << (levels[-1] - 1)
    full = np.clip(codes[-1] + moves, -half, half - 1).astype(np.int8)
    return [full >> (levels[-1] - level) for level in levels]


def _block(
    version: RandomVersion,
    levels: Sequence[int],
    carry_bits: int,
    contents: tuple[Sequence[TensorPart], Mapping[str, NDArray[Any]]],
    level_floats: Sequence[str],
) -> Block:
    """A block and its blobs; ``levels`` are its own."""
    parts, floats = contents
    version.floats.update(floats)
    steps = _steps(levels, carry_bits)
    widths = tuple(step.shard_bits for step in steps)
    wide = any(step.carry_bits for step in steps)
    codes = [
        [at_level[part.start : part.stop] for at_level in version.codes[part.name][-len(levels) :]]
        for part in parts
    ]
    nested = [nest(rows, levels, widths) if wide else split(rows[-1], levels) for rows in codes]
    stated = widths if wide and parts else ()
    count = len(levels) if parts else 1
    none = BlobRef("", 0, 0, "")
    block = Block(tuple(parts), tuple(floats), (none,) * count, ("",) * count, stated, tuple(level_floats))
    refs: list[BlobRef] = []
    digests: list[str] = []
    for index, level in enumerate(levels[:count]):
        shape = shape_of(block, version.manifest.levels, index)
        rows = [slice(part.start, part.stop) for part in parts]
        names = [part.name for part in parts]
        held = {} if index else dict(floats)
        held |= {name: version.level_floats[name, level] for name in level_floats}
        content = Content(
            tuple(_values(one, index, levels[0]) for one in nested),
            () if index else tuple(version.grids[name][at] for name, at in zip(names, rows, strict=True)),
            tuple(version.fits[name, level][at] for name, at in zip(names, rows, strict=True))
            if shape.fitted
            else (),
            held,
        )
        data, ref = encode(content, shape)
        version.blobs[ref.digest] = data
        refs.append(ref)
        affines = [version.affines[part.name, level] for part in parts]
        cut = [Affine(one.scale[at], one.offset[at]) for one, at in zip(affines, rows, strict=True)]
        digests.append(level_digest([at_level[index] for at_level in codes], cut, held))
    return replace(block, blobs=tuple(refs), digests=tuple(digests))


def _values(nested: Nested, index: int, base_level: int) -> NDArray[np.uint8]:
    if index:
        return nested.shards[index - 1].reshape(-1)
    return (nested.base.astype(np.int16) + (1 << (base_level - 1))).astype(np.uint8).reshape(-1)


def small_version(
    levels: Sequence[int] = (4, 6, 8),
    *,
    seed: int = 0,
    carry_bits: int = 0,
    bases: Sequence[int] = (),
    with_level_floats: bool = False,
) -> RandomVersion:
    """Four blocks: two tensors, one tensor over two blocks with odd row sizes, floats alone.

    With floats of each level the first block has two, and the third one.
    """
    rng = np.random.default_rng(seed)
    bias = rng.standard_normal(7).astype(np.float32)
    return random_version(
        levels,
        [
            ([TensorPart("a", (8, 3, 3, 3), 0, 8), TensorPart("b", (7, 5), 0, 7)], {"a_bias": bias}),
            ([TensorPart("c", (9, 11), 0, 4)], {}),
            ([TensorPart("c", (9, 11), 4, 9)], {}),
            ([], {"positions": np.arange(6), "scalar": np.array(3.5, np.float32)}),
        ],
        seed=seed,
        carry_bits=carry_bits,
        bases=bases,
        level_floats={0: ("a_mean", "b_bias"), 2: ("c_bias",)} if with_level_floats else None,
    )
