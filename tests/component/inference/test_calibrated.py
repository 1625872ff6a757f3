"""A device answers from a calibrated version as the server does, at every level."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from device_agent.inference.served import ServedModel
from server.quantize.order import Order, Pin
from tests.support.calibrating import images, normed_net, trial
from tests.support.mixed_versions import answers
from tests.support.versions import Version

LEVELS = (4, 6, 8)


@pytest.mark.parametrize("pins", [(), (Pin("3.weight", 6), Pin("7.weight", 8))])
def test_norms_whose_means_follow_the_levels_answer_alike_on_both_sides(
    tmp_path: Path, pins: tuple[Pin, ...]
) -> None:
    net = trial(tmp_path, normed_net())
    made = net.quantize(Order(LEVELS, "calibrated", pins=pins), calibration=images(32, 1, 8, 8))
    version = Version(made.manifest("normed", 1), net.store, made.sizes, net.exported)
    followers = {name for block in made.blocks for name in block.level_floats}
    assert followers == {"1.running_mean", "4.running_mean"} | (set() if pins else {"7.bias"})
    assert len({answers(version, level)[0].tobytes() for level in LEVELS}) == 3
    count = len(made.blocks)
    served = ServedModel.load(version.manifest, version.read, (4,) * count)
    for level in (4, 6, 8, 6, 4):
        served.set_levels((level,) * count)
        answer = served.infer(version.inputs())
        assert answer.level == level == served.prove()
        np.testing.assert_array_equal(answer.outputs["output_0"], answers(version, level)[0])
