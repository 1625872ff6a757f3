"""Versions of random codes: blocks, blobs and a manifest without a model behind them."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain, product
from typing import Any

import numpy as np
from numpy.typing import NDArray

from common.blob_codec import encode_arrays, encode_bytes, pack_base
from common.manifest import BlobRef, Block, Manifest, TensorPart
from common.nesting import Step, nest, split, steps_of
from common.packing import pack

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
    affines: dict[tuple[str, int], tuple[NDArray[np.float32], NDArray[np.float32]]]
    floats: dict[str, NDArray[Any]]
    level_floats: dict[tuple[str, int], NDArray[np.float32]] = field(default_factory=dict)
    reads: list[str] = field(default_factory=list)

    def read(self, digest: str) -> bytes:
        self.reads.append(digest)
        return self.blobs[digest]

    def expected(self, name: str, level: int) -> NDArray[np.float32]:
        """Dequantized weights of a tensor, flat rows."""
        scale, offset = self.affines[name, level]
        codes = self.codes[name][self.manifest.levels.index(level)]
        return codes.astype(np.float32) * scale[:, None] + offset[:, None]


def random_version(
    levels: Sequence[int],
    blocks: Sequence[tuple[Sequence[TensorPart], Mapping[str, NDArray[Any]]]],
    *,
    seed: int = 0,
    carry_bits: int = 0,
    bases: Sequence[int] = (),
    level_floats: Mapping[int, Sequence[str]] | None = None,
) -> RandomVersion:
    """A version with the given parts and floats in each block, its shards so much wider than their steps.

    Args:
        levels: Of the version.
        blocks: Parts and floats of each.
        seed: Of all values.
        carry_bits: Width of shards beyond their steps.
        bases: Level of each block's base; none for the lowest throughout.
        level_floats: Index of a block to the names of floats that it has at each of its levels.
    """
    rng = np.random.default_rng(seed)
    version = RandomVersion(
        Manifest("random", 1, tuple(levels), "floor", _NOTHING, _NOTHING, ()), {}, {}, {}, {}
    )
    steps = _steps(levels, carry_bits)
    for parts, _ in blocks:
        for part in parts:
            rows = part.shape[0]
            if part.name not in version.codes:
                version.codes[part.name] = _codes(rng, (rows, part.row_weights), levels, steps)
            for level in levels:
                draw = rng.standard_normal((2, rows)).astype(np.float32)
                version.affines.setdefault((part.name, level), (draw[0], draw[1]))
    names = level_floats or {}
    for name, level in product(chain(*names.values()), levels):
        version.level_floats[name, level] = rng.standard_normal(5).astype(np.float32)
    made = []
    for index, contents in enumerate(blocks):
        own = [level for level in levels if not bases or level >= bases[index]]
        made.append(_block(version, own, carry_bits, contents, names.get(index, ())))
    version.manifest = Manifest("random", 1, tuple(levels), "floor", _NOTHING, _NOTHING, tuple(made))
    return version


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
    refs: list[BlobRef] = []
    digests: list[str] = []
    for index in range(len(levels) if parts else 1):
        arrays: dict[str, NDArray[Any]] = {}
        hasher = hashlib.sha256()
        for part, part_codes, split_codes in zip(parts, codes, nested, strict=True):
            rows = slice(part.start, part.stop)
            scale, offset = version.affines[part.name, levels[index]]
            arrays[f"scale/{part.name}"], arrays[f"offset/{part.name}"] = scale[rows], offset[rows]
            arrays[f"codes/{part.name}"] = (
                pack(split_codes.shards[index - 1], widths[index - 1])
                if index
                else pack_base(split_codes.base, levels[0])
            )
            hasher.update(part_codes[index].tobytes())
        if index == 0:
            arrays |= {f"float/{name}": value for name, value in floats.items()}
        arrays |= {f"float/{name}": version.level_floats[name, levels[index]] for name in level_floats}
        data, ref = encode_arrays(arrays, compress=index == 0)
        version.blobs[ref.digest] = data
        refs.append(ref)
        digests.append(hasher.hexdigest())
    stated = widths if wide and parts else ()
    return Block(tuple(parts), tuple(floats), tuple(refs), tuple(digests), stated, tuple(level_floats))


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
