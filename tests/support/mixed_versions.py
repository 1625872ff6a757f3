"""Real versions whose blocks begin at different levels, and whose biases are others at each level."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from common.graph.build import build
from common.manifest import BlobRef, Block, TensorPart
from common.self_test import encode
from server.quantize.block_coder import BlockValues, encode_block
from server.quantize.expectations import make_self_test
from server.quantize.level_source import LevelSource
from server.quantize.rounding import rounding
from server.quantize.samples import Samples
from tests.support.versions import Version


def mixed_version(version: Version, bases: Mapping[int, int], mode: str = "floor") -> Version:
    """The same model with some blocks' bases at higher levels, and a self-test for that.

    Every bias beside a quantized tensor follows the levels, far enough from level to level for the self-test
    to tell which one was used.

    Args:
        version: Of a model.
        bases: Index of a block to the level of its base.
        mode: Rounding.
    """
    levels = version.manifest.levels
    coded = []
    for index, block in enumerate(version.manifest.blocks):
        own = levels[levels.index(bases.get(index, levels[0])) :]
        coded.append(encode_block(_values(version, block, own), own, rounding(mode)))
    blocks = tuple(item.block for item in coded)
    manifest = replace(version.manifest, blocks=blocks, rounding=mode)
    blobs = version.blobs | {ref.digest: data for item in coded for ref, data in item.blobs()}
    mixed = replace(version, manifest=manifest, blobs=blobs, reads=[])
    data, ref = _self_test(mixed)
    blobs[ref.digest] = data
    named = {ref.digest, *(item.digest for item in manifest.device_refs())}
    mixed.blobs = {digest: blob for digest, blob in blobs.items() if digest in named}
    mixed.manifest = replace(manifest, self_test=ref)
    return mixed


def answers(version: Version, level: int) -> list[NDArray[Any]]:
    """What the server computes for the example inputs at a level."""
    return list(_run(version, level, version.exported.inputs))


def _run(version: Version, level: int, inputs: Sequence[torch.Tensor]) -> tuple[NDArray[Any], ...]:
    manifest = version.manifest
    source = LevelSource(manifest.blocks, manifest.levels, level, version.blobs.__getitem__)
    return tuple(output.numpy() for output in build(version.exported.graph)(source, *inputs))


def _values(version: Version, block: Block, levels: tuple[int, ...]) -> BlockValues:
    states = {name: tensor.numpy() for name, tensor in version.exported.states.items()}
    names = (*block.floats, *block.level_floats)
    follow = {name for name in names if block.tensors and name.endswith("bias")}
    return BlockValues(
        tensors={part: _rows(states[part.name], part) for part in block.tensors},
        floats={name: states[name] for name in names if name not in follow},
        level_floats={
            name: tuple((states[name] + 0.25 * (8 - level)).astype(states[name].dtype) for level in levels)
            for name in names
            if name in follow
        },
    )


def _rows(weight: NDArray[Any], part: TensorPart) -> NDArray[np.float32]:
    return weight[part.start : part.stop].reshape(part.rows, -1).astype(np.float32)


def _self_test(version: Version) -> tuple[bytes, BlobRef]:
    samples = Samples(tuple(tensor.numpy() for tensor in version.exported.inputs), None)
    test = make_self_test(
        samples,
        version.manifest.levels,
        lambda level, inputs: _run(version, level, [torch.from_numpy(array) for array in inputs]),
        min_agreement=0.0,
        target_bytes=1 << 20,
    )
    return encode(test)
