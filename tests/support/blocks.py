"""Versions of random codes: blocks, blobs and a manifest without a model behind them."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from common.blob_codec import encode_arrays, encode_bytes, pack_base
from common.manifest import BlobRef, Block, Manifest, TensorPart
from common.nesting import join, split
from common.packing import pack

_NOTHING = encode_bytes(b"{}", compress=False)[1]


@dataclass
class RandomVersion:
    """A manifest, the blobs that it names, and the codes, scales and offsets that went in.

    ``codes`` is tensor name to full-bit codes [rows, row weights], ``affines`` tensor name and level to
    scale and offset, both over the whole tensor.
    """

    manifest: Manifest
    blobs: dict[str, bytes]
    codes: dict[str, NDArray[np.int8]]
    affines: dict[tuple[str, int], tuple[NDArray[np.float32], NDArray[np.float32]]]
    floats: dict[str, NDArray[Any]]
    reads: list[str] = field(default_factory=list)

    def read(self, digest: str) -> bytes:
        self.reads.append(digest)
        return self.blobs[digest]

    def expected(self, name: str, level: int) -> NDArray[np.float32]:
        """Dequantized weights of a tensor, flat rows."""
        scale, offset = self.affines[name, level]
        codes = np.right_shift(self.codes[name], np.int8(self.manifest.levels[-1] - level))
        return codes.astype(np.float32) * scale[:, None] + offset[:, None]


def random_version(
    levels: Sequence[int],
    blocks: Sequence[tuple[Sequence[TensorPart], Mapping[str, NDArray[Any]]]],
    *,
    seed: int = 0,
) -> RandomVersion:
    """A version with the given parts and floats in each block."""
    rng = np.random.default_rng(seed)
    version = RandomVersion(
        Manifest("random", 1, tuple(levels), "floor", _NOTHING, _NOTHING, ()), {}, {}, {}, {}
    )
    half = 1 << (levels[-1] - 1)
    for parts, _ in blocks:
        for part in parts:
            rows = part.shape[0]
            if part.name not in version.codes:
                version.codes[part.name] = rng.integers(-half, half, (rows, part.row_weights)).astype(np.int8)
            for level in levels:
                draw = rng.standard_normal((2, rows)).astype(np.float32)
                version.affines.setdefault((part.name, level), (draw[0], draw[1]))
    made = tuple(_block(version, levels, parts, floats) for parts, floats in blocks)
    version.manifest = Manifest("random", 1, tuple(levels), "floor", _NOTHING, _NOTHING, made)
    return version


def _block(
    version: RandomVersion,
    levels: Sequence[int],
    parts: Sequence[TensorPart],
    floats: Mapping[str, NDArray[Any]],
) -> Block:
    version.floats.update(floats)
    nested = [split(version.codes[part.name][part.start : part.stop], levels) for part in parts]
    steps = [high - low for low, high in pairwise(levels)]
    refs: list[BlobRef] = []
    digests: list[str] = []
    for index in range(len(levels) if parts else 1):
        arrays: dict[str, NDArray[Any]] = {}
        hasher = hashlib.sha256()
        for part, split_codes in zip(parts, nested, strict=True):
            rows = slice(part.start, part.stop)
            scale, offset = version.affines[part.name, levels[index]]
            arrays[f"scale/{part.name}"], arrays[f"offset/{part.name}"] = scale[rows], offset[rows]
            arrays[f"codes/{part.name}"] = (
                pack(split_codes.shards[index - 1], steps[index - 1])
                if index
                else pack_base(split_codes.base, levels[0])
            )
            hasher.update(join(split_codes.base, split_codes.shards[:index], levels).tobytes())
        if index == 0:
            arrays |= {f"float/{name}": value for name, value in floats.items()}
        data, ref = encode_arrays(arrays, compress=index == 0)
        version.blobs[ref.digest] = data
        refs.append(ref)
        digests.append(hasher.hexdigest())
    return Block(tuple(parts), tuple(floats), tuple(refs), tuple(digests))


def small_version(levels: Sequence[int] = (4, 6, 8), *, seed: int = 0) -> RandomVersion:
    """Four blocks: two tensors, one tensor over two blocks with odd row sizes, floats alone."""
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
    )
