"""The pipeline with each option of an order: versions answer as their blobs say, within their budget."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from common.errors import InvalidInputError
from common.fidelity import FidelityReport
from common.fidelity_codec import decode
from common.graph.build import build
from common.manifest import from_json, to_json
from common.self_test import check
from common.self_test import decode as decode_self_test
from server.quantize.level_source import LevelSource
from server.quantize.order import Order, Pin
from server.quantize.quantized import Quantized
from server.quantize.samples import Samples
from tests.support.calibrating import Trial, images, normed_net, relative, trial
from tests.support.graphs import Tensors
from tests.support.models import tiny_net

LEVELS = (4, 6, 8)
CALIBRATION = images(48, 1, 8, 8)
SMALL = 16 * 1024


def unbiased() -> tuple[nn.Module, tuple[torch.Tensor, ...]]:
    """A net of several blocks in which nothing takes a mean error."""
    torch.manual_seed(0)
    layers = nn.Flatten(), nn.Linear(64, 96, bias=False), nn.ReLU(), nn.Linear(96, 96, bias=False), nn.ReLU()
    return nn.Sequential(*layers, nn.Linear(96, 10, bias=False)).eval(), (torch.rand(4, 1, 8, 8),)


def outputs(of: Trial, version: Quantized, level: int, inputs: Any) -> Any:
    source = LevelSource(version.blocks, version.levels, level, of.store.__getitem__)
    return build(of.exported.graph)(source, *map(torch.from_numpy, inputs))[0].numpy()


def report_of(of: Trial, version: Quantized) -> FidelityReport:
    assert version.fidelity is not None
    return decode(of.store[version.fidelity.digest], version.fidelity)


def assert_whole(of: Trial, version: Quantized) -> None:
    """Every blob is in the sink, and every level answers as the self-test says."""
    manifest = version.manifest("net", 1)
    assert from_json(to_json(manifest)) == manifest
    for ref in manifest.blob_refs():
        assert len(of.store[ref.digest]) == ref.size_bytes
    test = decode_self_test(of.store[version.self_test.digest], version.self_test, version.levels)
    for level in version.levels:
        check(test, level, [outputs(of, version, level, test.inputs)])


def bases_of(version: Quantized) -> dict[str, int]:
    return {part.name: block.levels(version.levels)[0] for block in version.blocks for part in block.tensors}


def bases_bytes(version: Quantized) -> int:
    return sum({block.blobs[0].digest: block.blobs[0].size_bytes for block in version.blocks}.values())


def test_pins_and_the_first_and_last_weight_have_higher_bases(tmp_path: Path) -> None:
    net = trial(tmp_path, tiny_net())
    order = Order(LEVELS, max_blob_bytes=SMALL, first_last=8, pins=(Pin("scores.*", 6),))
    version = net.quantize(order)
    assert bases_of(version) == {"convolution.weight": 8, "hidden.weight": 4, "scores.weight": 6}
    assert_whole(net, version)


@pytest.mark.parametrize("mode", ["floor", "adaptive", "auto", "calibrated"])
def test_a_budget_lifts_blocks_and_leaves_the_full_level_as_it_was(tmp_path: Path, mode: str) -> None:
    net = trial(tmp_path, unbiased())
    options = {"calibration": images(24, 1, 8, 8)} if mode == "calibrated" else {}
    plain = net.quantize(Order(LEVELS, mode, SMALL), **options)
    # As a liftable plan cuts it: with room for a base at full-bit.
    cut = net.quantize(Order(LEVELS, mode, SMALL, budget_bytes=bases_bytes(plain) + 200), **options)
    budget_bytes = bases_bytes(plain) + 4000
    lifted = net.quantize(Order(LEVELS, mode, SMALL, budget_bytes=budget_bytes), **options)
    assert bases_bytes(lifted) <= budget_bytes
    assert any(block.levels(LEVELS)[0] > 4 for block in lifted.blocks)
    assert set(bases_of(cut).values()) == {4}
    assert_whole(net, lifted)
    full = [outputs(net, version, 8, CALIBRATION.inputs) for version in (plain, lifted)]
    np.testing.assert_array_equal(*full)
    wanted = build(net.exported.graph)(
        Tensors(net.exported.states), *map(torch.from_numpy, CALIBRATION.inputs)
    )[0].numpy()
    errors = [
        relative(outputs(net, version, 4, CALIBRATION.inputs) - wanted, wanted) for version in (plain, lifted)
    ]
    assert errors[1] < errors[0]


def test_a_budget_for_everything_is_a_version_at_full_bit(tmp_path: Path) -> None:
    net = trial(tmp_path, unbiased())
    version = net.quantize(Order(LEVELS, max_blob_bytes=SMALL, budget_bytes=1 << 30))
    assert set(bases_of(version).values()) == {8}
    assert_whole(net, version)


def test_a_budget_below_the_bases_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match="are allowed"):
        trial(tmp_path, unbiased()).quantize(Order(LEVELS, max_blob_bytes=SMALL, budget_bytes=100))


@pytest.mark.parametrize("mode", ["calibrated", "auto"])
@pytest.mark.parametrize("model", [tiny_net, normed_net])
def test_samples_bring_the_lowest_level_nearer_to_the_floats(tmp_path: Path, mode: str, model: Any) -> None:
    net = trial(tmp_path, model())
    by_samples = net.quantize(Order(LEVELS, mode, SMALL), calibration=CALIBRATION)
    by_floor = net.quantize(Order(LEVELS, "floor", SMALL))
    assert by_samples.rounding == mode
    assert_whole(net, by_samples)
    floats = build(net.exported.graph)(Tensors(net.exported.states), torch.from_numpy(CALIBRATION.inputs[0]))
    wanted = floats[0].numpy()
    for level in LEVELS[:-1]:
        ours, theirs = (
            relative(outputs(net, version, level, CALIBRATION.inputs) - wanted, wanted)
            for version in (by_samples, by_floor)
        )
        assert ours < theirs
    followers = {name for block in by_samples.blocks for name in block.level_floats}
    assert len(followers) == 3
    beside = [
        (block.tensors[0].name, name)
        for block in by_samples.blocks
        for name in block.level_floats
        if len(block.tensors) == 1
    ]
    assert all(name.split(".")[0] >= weight.split(".")[0] for weight, name in beside)


def test_a_pinned_neighbour_does_not_take_what_follows_the_levels(tmp_path: Path) -> None:
    net = trial(tmp_path, tiny_net())
    order = Order(LEVELS, "calibrated", SMALL, pins=(Pin("convolution.weight", 8), Pin("scores.weight", 6)))
    version = net.quantize(order, calibration=CALIBRATION)
    assert {name: block.levels(LEVELS) for block in version.blocks for name in block.level_floats} == {
        "hidden.bias": (4, 6, 8),
        "scores.bias": (6, 8),
    }
    assert_whole(net, version)


def test_a_calibrated_version_needs_samples(tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match="needs calibration samples"):
        trial(tmp_path, tiny_net()).quantize(Order(LEVELS, "calibrated"))


def test_a_version_that_is_less_faithful_than_asked_for_is_refused_with_figures(tmp_path: Path) -> None:
    net = trial(tmp_path, tiny_net())
    with pytest.raises(
        InvalidInputError, match=r"At 2 bits .* 0\.99\d\d at 2 bits, 1\.0000 at 8 bits"
    ) as caught:
        net.quantize(Order((2, 8), min_fidelity=0.9999))
    assert "or ask for less" in caught.value.advice
    assert net.quantize(Order(LEVELS, min_fidelity=0.5)).fidelity is not None


def test_evaluation_samples_tell_top1(tmp_path: Path) -> None:
    net = trial(tmp_path, unbiased())
    inputs = images(40, 1, 8, 8, seed=5).inputs
    floats = build(net.exported.graph)(Tensors(net.exported.states), torch.from_numpy(inputs[0]))
    labels = floats[0].argmax(1).numpy()
    labels[:10] = (labels[:10] + 1) % 10
    version = net.quantize(
        Order(LEVELS, max_blob_bytes=SMALL), evaluation=Samples(inputs, labels), fidelity_seconds=1.0
    )
    report = report_of(net, version)
    assert (report.samples, report.sample_kind) == (40, "evaluation")
    assert report.fp32_top1 == pytest.approx(0.75)
    for level in report.levels:
        seen = outputs(net, version, level.level, inputs).argmax(1)
        assert level.top1 == pytest.approx((seen == labels).mean(), abs=1e-6)


def test_a_report_says_what_it_was_measured_on(tmp_path: Path) -> None:
    net = trial(tmp_path, unbiased())
    order = Order(LEVELS, "calibrated", SMALL)
    by_calibration = report_of(net, net.quantize(order, calibration=CALIBRATION, fidelity_seconds=1.0))
    assert (by_calibration.samples, by_calibration.sample_kind) == (48, "calibration")
    assert {tensor.rounding for tensor in by_calibration.tensors} == {"calibrated"}
    by_examples = report_of(net, net.quantize(Order(LEVELS, "auto", SMALL), fidelity_seconds=1.0))
    assert (by_examples.samples, by_examples.sample_kind) == (4, "example")
    assert by_examples.fp32_top1 is None


def test_no_time_for_fidelity_is_no_report(tmp_path: Path) -> None:
    version = trial(tmp_path, tiny_net()).quantize(Order(LEVELS))
    assert version.fidelity is None
    assert not any(block.gains for block in version.blocks)


MODES = ["floor", "adaptive", "calibrated", "auto"]


def options(mode: str, samples: Samples = CALIBRATION) -> dict[str, Any]:
    return {"calibration": samples} if mode in {"calibrated", "auto"} else {}


def silent(weight: torch.Tensor) -> torch.Tensor:
    weight[1] = 0
    return weight


@pytest.mark.parametrize("mode", MODES)
def test_channels_of_zeros_stay_zeros_and_constants_stay_near(tmp_path: Path, mode: str) -> None:
    changes = {
        "hidden.weight": silent,
        "convolution.weight": lambda weight: torch.full_like(weight, 0.3),
        "scores.weight": torch.zeros_like,
    }
    net = trial(tmp_path, tiny_net(), changes)
    # The paper's own scale, not refitted, loses some of the greatest weights to its clamp.
    version = net.quantize(Order(LEVELS, mode, SMALL, refit=True), **options(mode))
    assert_whole(net, version)
    for level in LEVELS:
        source = LevelSource(version.blocks, LEVELS, level, net.store.__getitem__)
        assert not source.tensor("hidden.weight")[1].any()
        assert not source.tensor("scores.weight").any()
        torch.testing.assert_close(
            source.tensor("convolution.weight"), torch.full((8, 1, 3, 3), 0.3), rtol=1e-3, atol=0
        )


@pytest.mark.parametrize("mode", MODES)
def test_a_tensor_of_one_element_is_met(tmp_path: Path, mode: str) -> None:
    torch.manual_seed(0)
    net = trial(tmp_path, (nn.Sequential(nn.Linear(1, 1)).eval(), (torch.rand(3, 1),)))
    version = net.quantize(Order(LEVELS, mode, SMALL), **options(mode, images(9, 1)))
    for level in LEVELS:
        source = LevelSource(version.blocks, LEVELS, level, net.store.__getitem__)
        torch.testing.assert_close(source.tensor("0.weight"), net.exported.states["0.weight"])


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("name", ["convolution.weight", "hidden.weight", "hidden.bias"])
def test_weights_that_are_nan_are_refused_by_name(tmp_path: Path, mode: str, name: str) -> None:
    def spoiled(tensor: torch.Tensor) -> torch.Tensor:
        tensor.view(-1)[2] = float("nan")
        return tensor

    net = trial(tmp_path, tiny_net(), {name: spoiled})
    with pytest.raises(InvalidInputError, match=f"'{name}' has NaN"):
        net.quantize(Order(LEVELS, mode, SMALL), **options(mode))


def with_value(value: float) -> Samples:
    array = CALIBRATION.inputs[0].copy()
    array[3, 0, 2, 2] = value
    return Samples((array,))


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(
    ("samples", "message"),
    [
        (with_value(float("nan")), "Sample 3 of the calibration samples has NaN"),
        (with_value(float("inf")), "Sample 3 of the calibration samples has NaN or infinity"),
        (images(4, 1, 8, 9), r"calibration samples do not fit .* shape \[4, 1, 8, 9\]"),
        (Samples((np.zeros((4, 1, 8, 8), np.float64),)), "calibration samples do not fit .* float64"),
        (Samples((*CALIBRATION.inputs, *CALIBRATION.inputs)), "calibration samples have 2 arrays"),
        (images(513, 1, 8, 8), "513 calibration samples and 512 are allowed"),
    ],
)
def test_calibration_samples_that_cannot_serve_are_refused(
    tmp_path: Path, mode: str, samples: Samples, message: str
) -> None:
    net = trial(tmp_path, tiny_net())
    with pytest.raises(InvalidInputError, match=message):
        net.quantize(Order(LEVELS, mode, SMALL), calibration=samples)
    assert not net.store
    assert [path.name for path in tmp_path.iterdir()] == ["weights.safetensors"]
