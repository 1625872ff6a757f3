"""Counts a version's bits, and times its coder."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from benchmarks.quantize.tasks.task import Task
from benchmarks.wire.row import Row
from benchmarks.wire.version import MadeVersion, make_version
from common.block_codec import Content, decode, encode, shape_of
from common.manifest import Block
from common.nesting import join
from common.rows import Grid
from server.quantize.sizes import paper_bytes

_REPEATS: Final = 3


def measure(task: Task, levels: tuple[int, ...], rounding: str, tell: Callable[[str], None]) -> Row:
    """One model's row."""
    tell(f"{task.name}: quantize, {rounding}")
    version = make_version(task, levels, rounding)
    tell(f"{task.name}: count")
    manifest = version.manifest
    weights = sum(block.weights for block in manifest.blocks)
    by_level: defaultdict[int, int] = defaultdict(int)
    int8_bytes = float_bytes = payload_bytes = 0
    tensors: defaultdict[str, list[tuple[NDArray[np.int8], NDArray[np.int8]]]] = defaultdict(list)
    for at, block in enumerate(manifest.blocks):
        contents = version.contents(at)
        payload_bytes += sum(ref.size_bytes for ref in block.blobs)
        for index, content in enumerate(contents):
            own = _without_floats(content, block, levels, index)
            by_level[0 if index == 0 else block.levels(levels)[index]] += own
            float_bytes += block.blobs[index].size_bytes - own
        base, full = _codes(block, contents, levels)
        int8_bytes += _int8_bytes(block, contents[0].grids, full)
        for part, low, high in zip(block.tensors, base, full, strict=True):
            tensors[part.name].append((low, high))
    counts = [sum(low.size for low, _ in parts) for parts in tensors.values()]
    paper = sum(paper_bytes(count, levels[0]) for count in counts)
    paper += sum(paper_bytes(count, levels[-1] - levels[0] + 1) for count in counts)
    tell(f"{task.name}: time")
    encode_seconds, decode_seconds = _times(version)

    def bits(size_bytes: float) -> float:
        return round(8 * size_bytes / weights, 4)

    return Row(
        model=task.name,
        levels=levels,
        rounding=rounding,
        base_bits_per_weight=bits(by_level[0]),
        base_entropy_bits_per_weight=bits(_entropy(tensors, 0)),
        shard_bits_per_weight=tuple(bits(by_level[level]) for level in levels[1:]),
        total_bits_per_weight=bits(sum(by_level.values())),
        int8_bits_per_weight=bits(int8_bytes),
        int8_entropy_bits_per_weight=bits(_entropy(tensors, 1)),
        paper_packed_bits_per_weight=bits(paper),
        float_bits_per_weight=bits(float_bytes),
        metadata_bytes=version.metadata_bytes,
        manifest_bytes=version.manifest_bytes,
        payload_bytes=payload_bytes,
        encode_mb_per_s=round(weights / 1e6 / encode_seconds, 1),
        decode_mb_per_s=round(weights / 1e6 / decode_seconds, 1),
    )


def _without_floats(content: Content, block: Block, levels: Sequence[int], index: int) -> int:
    """Size of a blob but for the floats in it; all of a block that holds nothing else."""
    shape = shape_of(block, levels, index)
    if not block.tensors:
        return 0
    return len(encode(replace(content, floats={}), replace(shape, floats=()))[0])


def _codes(
    block: Block, contents: Sequence[Content], levels: Sequence[int]
) -> tuple[list[NDArray[np.int8]], list[NDArray[np.int8]]]:
    """Codes of each part at the base and at the full level."""
    own = block.levels(levels)
    zero = 1 << (own[0] - 1)
    base = [(values - np.uint8(zero)).view(np.int8) for values in contents[0].values]
    full = [
        join(low, [content.values[at] for content in contents[1:]], own, block.shard_bits)
        for at, low in enumerate(base)
    ]
    return base, full


def _int8_bytes(block: Block, grids: Sequence[Grid], full: Sequence[NDArray[np.int8]]) -> int:
    """The block as one plain INT8 model under the same coder."""
    if not block.tensors:
        return 0
    alone = Block(block.tensors, (), block.blobs[:1], block.digests[:1])
    shape = shape_of(alone, (8,), 0)
    values = tuple((codes.view(np.uint8) + np.uint8(128)) for codes in full)
    return len(encode(Content(values, tuple(grids)), shape)[0])


def _entropy(tensors: dict[str, list[tuple[NDArray[np.int8], NDArray[np.int8]]]], which: int) -> float:
    """Order-0 entropy in bytes, tensor by tensor."""
    total = 0.0
    for parts in tensors.values():
        counts = sum(np.bincount(pair[which].view(np.uint8), minlength=256) for pair in parts)
        some = np.asarray(counts)[np.asarray(counts) > 0]
        total += float((some * np.log2(some.sum() / some)).sum()) / 8
    return total


def _times(version: MadeVersion) -> tuple[float, float]:
    """Seconds to encode all contents, and to verify and decode all blobs to full-bit codes; best of some."""
    manifest = version.manifest
    encoding, decoding = [], []
    for _ in range(_REPEATS):
        encode_seconds = decode_seconds = 0.0
        for block in manifest.blocks:
            shapes = [shape_of(block, manifest.levels, index) for index in range(len(block.blobs))]
            start = time.perf_counter()
            contents = [
                decode(version.blobs[ref.digest], ref, shape)
                for ref, shape in zip(block.blobs, shapes, strict=True)
            ]
            _codes(block, contents, manifest.levels)
            middle = time.perf_counter()
            for content, shape in zip(contents, shapes, strict=True):
                encode(content, shape)
            encode_seconds += time.perf_counter() - middle
            decode_seconds += middle - start
        encoding.append(encode_seconds)
        decoding.append(decode_seconds)
    return min(encoding), min(decoding)
