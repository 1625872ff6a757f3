"""Weights of every form, from the model to a device's answer at each level."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from common.graph.build import build
from common.graph.left_float import float_states
from common.graph.uses import quantizable_states
from device_agent.inference.served import ServedModel
from server.quantize.level_source import LevelSource
from tests.support.versions import make_version
from tests.support.zoo import ZOO

NAMES = (
    "mobilenet",
    "transposed 1d",
    "transposed 2d",
    "transposed 3d",
    "parametrized",
    "experts",
    "einsums",
    "products",
    "decoder",
    "tied",
    "bag",
    "cells",
    "lstm both ways",
    "gru both ways",
)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("rounding", ["floor", "adaptive"])
def test_a_device_answers_as_the_server_at_every_level_and_as_the_model_at_full_bits(
    name: str, rounding: str
) -> None:
    torch.manual_seed(0)
    model, inputs = ZOO[name]()
    version = make_version(model.eval(), inputs, rounding=rounding)
    graph, manifest = version.exported.graph, version.manifest
    codes = {part.name for block in manifest.blocks for part in block.tensors}
    floats = {name for block in manifest.blocks for name in block.floats}
    assert codes == set(quantizable_states(graph))
    assert floats == {left.name for left in float_states(graph)}
    served = ServedModel.load(manifest, version.read, (4,) * len(manifest.blocks))
    for level in (4, 8, 6):
        served.set_levels((level,) * len(manifest.blocks))
        answer = served.infer(version.inputs())
        assert answer.level == level == served.prove()
        source = LevelSource(manifest.blocks, manifest.levels, level, version.blobs.__getitem__)
        wanted = build(graph)(source, *version.exported.inputs)
        for output, expected in zip(graph.outputs, wanted, strict=True):
            np.testing.assert_array_equal(answer.outputs[output.name], expected.numpy())
    served.set_levels((8,) * len(manifest.blocks))
    outputs = served.infer(version.inputs()).outputs
    for output, exact in zip(
        graph.outputs, build(graph)(version.exported, *version.exported.inputs), strict=True
    ):
        error = np.linalg.norm(outputs[output.name] - exact.numpy())
        assert error < 0.05 * float(exact.norm())
