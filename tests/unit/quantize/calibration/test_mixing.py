"""Calibrated levels suit every mix that a device may run."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from common.graph.build import build
from server.quantize.level_source import LevelSource
from server.quantize.order import Order
from tests.support.calibrating import Trial, images, normed_net, relative, trial
from tests.support.models import tiny_net

LEVELS = (4, 8)
SAMPLES = images(128, 1, 8, 8)


def output_error(subject: Trial, blocks: tuple[object, ...], levels: list[int]) -> float:
    run = build(subject.exported.graph)
    inputs = torch.from_numpy(SAMPLES.inputs[0])
    source = LevelSource(blocks, LEVELS, levels, subject.store.__getitem__)  # type: ignore[arg-type]
    wanted: NDArray[np.float32] = run(subject.exported, inputs)[0].numpy()
    return relative(run(source, inputs)[0].numpy() - wanted, wanted)


@pytest.mark.parametrize("model", [tiny_net(), normed_net()], ids=["biases", "norms"])
def test_with_each_block_lifted_alone_outputs_are_no_worse(tmp_path: Path, model: tuple[object, ...]) -> None:
    subject = trial(tmp_path, model)  # type: ignore[arg-type]
    order = Order(LEVELS, "calibrated", max_blob_bytes=16 * 1024)
    blocks = subject.quantize(order, calibration=SAMPLES).blocks
    base = output_error(subject, blocks, [4] * len(blocks))
    for index, block in enumerate(blocks):
        if block.tensors:
            lifted = [8 if at == index else 4 for at in range(len(blocks))]
            assert output_error(subject, blocks, lifted) < 1.1 * base
    assert output_error(subject, blocks, [8] * len(blocks)) < base
