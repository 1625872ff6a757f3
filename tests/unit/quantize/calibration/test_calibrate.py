"""Whole nets are calibrated: better outputs than floor's at each level, and samples that cannot serve."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from common.errors import InvalidInputError
from common.graph.build import build
from common.nesting import clamp_level
from server.export.exported import Exported
from server.export.pipeline import export_model
from server.quantize.calibration import Calibrated, calibrate
from server.quantize.format import Format
from server.quantize.rounding import rounding
from server.quantize.samples import Samples
from tests.support.calibrating import images, normed_net, one_mode, relative
from tests.support.graphs import Tensors
from tests.support.level_states import LevelStates
from tests.support.models import tiny_net
from tests.support.zoo import Function

LEVELS = (3, 4, 6, 8)
SAMPLES = images(64, 1, 8, 8)


@pytest.fixture(scope="module", params=["biases", "norms"])
def net(request: pytest.FixtureRequest) -> Exported:
    return export_model(*(tiny_net() if request.param == "biases" else normed_net()))


def run(
    exported: Exported, forms: dict[str, Format], samples: Samples = SAMPLES, **options: Any
) -> Calibrated:
    return calibrate(exported.graph, Tensors(exported.states), samples, forms, lambda *_: None, **options)


def outputs(exported: Exported, source: Any, samples: Samples = SAMPLES) -> Any:
    return build(exported.graph)(source, *map(torch.from_numpy, samples.inputs))[0].double().numpy()


def at_level(exported: Exported, forms: dict[str, Format], found: Calibrated, level: int) -> LevelStates:
    """The model at a level, with what was decided."""
    states = LevelStates(Tensors(exported.states), forms, level)
    states.affines = {
        name: levels[clamp_level(forms[name].levels, level)] for name, levels in found.affines.items()
    }
    states.corrected = {name: levels[level] for name, levels in found.floats.items() if level in levels}
    return states


def test_outputs_at_each_level_are_nearer_than_those_of_floor(net: Exported) -> None:
    calibrated, floors = one_mode(net, "calibrated", LEVELS), one_mode(net, "floor", LEVELS)
    found = run(net, calibrated)
    fresh = images(64, 1, 8, 8, seed=9)
    for samples in (SAMPLES, fresh):
        wanted = outputs(net, Tensors(net.states), samples)
        for level in LEVELS[:-1]:
            ours, theirs = (
                relative(outputs(net, source, samples) - wanted, wanted)
                for source in (
                    at_level(net, calibrated, found, level),
                    LevelStates(Tensors(net.states), floors, level),
                )
            )
            assert ours < theirs


def test_every_layer_is_decided_at_every_part_bit_level_and_said_to_be(net: Exported) -> None:
    steps: list[tuple[str, int, int]] = []
    forms = one_mode(net, "calibrated", LEVELS)
    found = calibrate(net.graph, Tensors(net.states), SAMPLES, forms, lambda *step: steps.append(step))
    assert {name: set(levels) for name, levels in found.affines.items()} == {
        name: {3, 4, 6} for name in forms
    }
    assert all(set(levels) == {3, 4, 6, 8} for levels in found.floats.values())
    assert len(found.floats) == 3
    assert found.samples == 64
    assert steps == [("calibrate", done, 3) for done in range(4)]


def test_equal_samples_decide_equally(net: Exported) -> None:
    forms = one_mode(net, "calibrated", (4, 8))
    one, other = run(net, forms), run(net, forms)
    for name, levels in one.affines.items():
        np.testing.assert_array_equal(levels[4].codes, other.affines[name][4].codes)
        np.testing.assert_array_equal(levels[4].weights(), other.affines[name][4].weights())
    for name, values in one.floats.items():
        np.testing.assert_array_equal(values[4], other.floats[name][4])


def test_the_first_layer_has_no_mean_error_over_the_samples() -> None:
    torch.manual_seed(0)
    for layers in ([nn.Conv2d(1, 6, 3)], [nn.Conv2d(1, 6, 3, bias=False), nn.BatchNorm2d(6)]):
        net = export_model(nn.Sequential(*layers).eval(), (torch.rand(2, 1, 8, 8),))
        forms = one_mode(net, "calibrated", (3, 8))
        found = run(net, forms)
        wanted = outputs(net, Tensors(net.states))
        error = outputs(net, at_level(net, forms, found, 3)) - wanted
        assert relative(error, wanted) > 1e-3
        assert np.abs(error.mean((0, 2, 3))).max() < 1e-5
        without = replace(found, floats={})
        uncorrected = outputs(net, at_level(net, forms, without, 3)) - wanted
        assert np.abs(uncorrected.mean((0, 2, 3))).max() > 1e-4


def test_a_pinned_tensor_has_fewer_levels_and_keeps_its_bias_below_them() -> None:
    net = export_model(*tiny_net())
    forms = one_mode(net, "calibrated", (4, 6, 8))
    forms["hidden.weight"] = Format((6, 8), rounding("calibrated"))
    forms["scores.weight"] = Format((8,), rounding("floor"))
    found = run(net, forms)
    assert set(found.affines) == {"convolution.weight", "hidden.weight"}
    assert set(found.affines["hidden.weight"]) == {6}
    assert {name: set(levels) for name, levels in found.floats.items()} == {
        "convolution.bias": {4, 6, 8},
        "hidden.bias": {6, 8},
    }


def test_a_version_of_one_level_has_nothing_to_decide() -> None:
    net = export_model(*tiny_net())
    found = run(net, one_mode(net, "floor", (8,)))
    assert not found.affines
    assert not found.floats
    alone = run(net, one_mode(net, "calibrated", (8,)))
    assert not alone.affines


def test_tensors_of_other_modes_are_left_alone() -> None:
    net = export_model(*tiny_net())
    forms = one_mode(net, "floor", (4, 8)) | {"hidden.weight": Format((4, 8), rounding("calibrated"))}
    found = run(net, forms)
    assert set(found.affines) == {"hidden.weight"}
    assert set(found.floats) == {"hidden.bias"}


def test_layers_that_see_the_same_are_decided_as_each_alone_would_be() -> None:
    torch.manual_seed(0)
    model = Function(
        lambda x, *layers: torch.cat([layer(x) for layer in layers], 1),
        nn.Linear(6, 4),
        nn.Linear(6, 5),
        nn.Linear(6, 5, bias=False),
    )
    net = export_model(model.eval(), (torch.rand(3, 6),))
    samples = images(40, 6)
    together = run(net, one_mode(net, "calibrated", (4, 8)), samples)
    for name in together.affines:
        forms = one_mode(net, "floor", (4, 8)) | {name: Format((4, 8), rounding("calibrated"))}
        alone = run(net, forms, samples)
        np.testing.assert_array_equal(alone.affines[name][4].codes, together.affines[name][4].codes)


def test_a_model_that_overflows_is_refused_by_the_layer_that_sees_it() -> None:
    net = export_model(*tiny_net())
    huge = Samples((np.full((4, 1, 8, 8), 3e38, np.float32),))
    with pytest.raises(InvalidInputError, match=r"What layer '\w+' sees .* not finite") as caught:
        run(net, one_mode(net, "calibrated", (4, 8)), huge)
    assert "samples that the model can answer" in caught.value.advice


def test_weights_that_are_none_are_refused_by_name() -> None:
    for name in ("convolution.weight", "hidden.weight"):
        net = export_model(*tiny_net())
        net.states[name].view(-1)[3] = float("nan")
        for mode in ("calibrated", "floor"):
            forms = one_mode(net, "calibrated", (4, 8)) | {name: Format((4, 8), rounding(mode))}
            with pytest.raises(InvalidInputError, match=f"'{name}' has NaN"):
                run(net, forms)


def test_fewer_samples_are_used_where_there_is_no_room() -> None:
    net = export_model(*tiny_net())
    forms = one_mode(net, "calibrated", (4, 8))
    some = run(net, forms, room_bytes=200_000)
    assert 1 <= some.samples < 64
    first = run(net, forms, Samples((SAMPLES.inputs[0][: some.samples],)))
    np.testing.assert_array_equal(
        some.affines["hidden.weight"][4].codes, first.affines["hidden.weight"][4].codes
    )
    assert run(net, forms, room_bytes=0).samples == 1


class Unbatched(nn.Module):
    """A convolution over one picture that is made of all samples."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Conv2d(1, 3, 3, padding=1)

    def forward(self, x: torch.Tensor) -> Any:
        return self.layer(x.unsqueeze(0)).transpose(0, 1).flatten(1)


def test_a_convolution_of_a_single_sample_is_calibrated() -> None:
    net = export_model(Unbatched().eval(), (torch.rand(4, 8),))
    found = run(net, one_mode(net, "calibrated", (4, 8)), images(12, 8))
    assert set(found.affines) == {"layer.weight"}
