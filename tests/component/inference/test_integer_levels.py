"""Levels go up and down under kernels, and the weights stay those of the version, bit for bit."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import cast

import numpy as np
import pytest
import torch
from torch import nn

from device_agent.inference.integer.binding import BoundLayer
from device_agent.inference.integer.weights import KernelCodes
from device_agent.residency.codes import ByteCodes
from device_agent.residency.resident import Snapshot
from server.quantize.order import Order, Pin
from tests.support.calibrating import images, normed_net, trial
from tests.support.integer_runs import ENGINES, Case, engine_named, trained_looking
from tests.support.mixed_versions import mixed_version
from tests.support.versions import Version, make_version
from tests.unit.inference.integer.test_plan import Broadcast

LEVELS = (2, 3, 4, 5, 6, 7, 8)
TOLERANCE = 0.02
# Up and down through all levels, by steps and by leaps.
WAY = (2, 3, 4, 5, 6, 7, 8, 7, 6, 5, 4, 3, 2, 8, 2, 5, 8, 4, 6, 3)


class Net(nn.Module):
    """Convolutions with and without norms, a depthwise one, a shortcut, and linear layers."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 16, 3, padding=1, bias=False), nn.BatchNorm2d(16), nn.ReLU6())
        self.depth = nn.Sequential(nn.Conv2d(16, 16, 3, padding=1, groups=16), nn.ReLU())
        self.point = nn.Conv2d(16, 16, 1)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.hidden = nn.Linear(16, 40)
        self.scores = nn.Linear(40, 10, bias=False)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        stem = self.stem(image)
        total = torch.relu(self.point(self.depth(stem)) + stem)
        result: torch.Tensor = self.scores(torch.relu(self.hidden(self.pool(total).flatten(1))))
        return result


@cache
def case(rounding: str = "floor") -> Case:
    torch.manual_seed(3)
    model = trained_looking(Net())
    with torch.no_grad():  # rows of one sign, one constant row, one row of zeros
        weight = cast("Net", model).point.weight
        weight[0].abs_()
        weight[1] = -0.3
        weight[2] = 0
    return Case(make_version(model, (torch.rand(4, 3, 10, 10),), levels=LEVELS, rounding=rounding))


def codes_of(snapshot: Snapshot) -> dict[tuple[str, int], bytes]:
    """Every part's codes, by its tensor's name and its first row."""
    return {
        (part.part.name, part.part.start): part.codes.unsigned().tobytes()
        for block in snapshot.blocks
        for part in block.parts
    }


def assert_same_weights(snapshot: Snapshot, plain: Snapshot) -> None:
    assert codes_of(snapshot) == codes_of(plain)
    assert snapshot.loaded_digest == plain.loaded_digest
    for one, other in zip(snapshot.blocks, plain.blocks, strict=True):
        assert one.levels == other.levels
        for mine, wanted in zip(one.parts, other.parts, strict=True):
            for affine, expected in zip(mine.affines, wanted.affines, strict=True):
                np.testing.assert_array_equal(affine.scale, expected.scale)
                np.testing.assert_array_equal(affine.offset, expected.offset)


@pytest.mark.parametrize("engine_name", ENGINES)
@pytest.mark.parametrize("rounding", ["floor", "adaptive"])
@pytest.mark.parametrize("mode", ["fast", "exact"])
def test_every_way_through_the_levels_keeps_the_codes(engine_name: str, rounding: str, mode: str) -> None:
    engine, net = engine_named(engine_name), case(rounding)
    pager = net.pager(net.uniform(2), engine, exact=mode == "exact")
    plain = {level: net.plain(net.uniform(level)).snapshot for level in LEVELS}
    for level in WAY:
        pager.set_levels(net.uniform(level))
        held = net.on_kernels(pager.snapshot)
        assert held
        net.answer(pager.snapshot, engine)  # packs what is packed by the first run
        assert_same_weights(pager.snapshot, plain[level])
        for name in held:
            assert all(isinstance(part.codes, KernelCodes) for part in pager.snapshot.parts(name))


@pytest.mark.parametrize("engine_name", ENGINES)
def test_answers_are_those_of_a_version_that_was_loaded_at_its_level(engine_name: str) -> None:
    engine, net = engine_named(engine_name), case()
    pager = net.pager(net.uniform(2), engine)
    for level in WAY[:9]:
        pager.set_levels(net.uniform(level))
        fresh = net.pager(net.uniform(level), engine)
        (moved,), (loaded,) = net.answer(pager.snapshot, engine), net.answer(fresh.snapshot, engine)
        np.testing.assert_array_equal(moved, loaded)
        (wanted,) = net.floats(net.uniform(level))
        assert np.linalg.norm(moved - wanted) < TOLERANCE * np.linalg.norm(wanted), level


def test_how_values_follow_is_remembered_where_it_is_small_and_counts_as_memory() -> None:
    engine, net = engine_named("onednn"), wide_case()
    pager = net.pager(net.uniform(4), engine)
    for level in (8, 6, 4, 8):
        pager.set_levels(net.uniform(level))
    weights = [bound.weight for bound in pager.snapshot.prepared.values() if isinstance(bound, BoundLayer)]
    assert any(len(weight.known) > 1 for weight in weights)
    for weight in weights:
        remembered_bytes = sum(how.size_bytes for how in weight.known.values())
        assert remembered_bytes <= engine.laid(weight.packed).lanes.size_bytes // 16
        assert weight.part_bytes(weight.rows) >= engine.packed_bytes(weight.packed) + remembered_bytes


@pytest.mark.parametrize("engine_name", ENGINES)
def test_a_request_keeps_the_weights_that_it_began_with(engine_name: str) -> None:
    engine, net = engine_named(engine_name), case()
    pager = net.pager(net.uniform(8), engine)
    before = pager.snapshot
    first = net.answer(before, engine)[0]
    pager.set_levels(net.uniform(2))
    assert not np.array_equal(net.answer(pager.snapshot, engine)[0], first)
    np.testing.assert_array_equal(net.answer(before, engine)[0], first)
    assert_same_weights(before, net.plain(net.uniform(8)).snapshot)


@cache
def wide_case() -> Case:
    """Tensors so large that they are cut into parts."""
    torch.manual_seed(5)
    model = nn.Sequential(
        nn.Conv2d(3, 64, 3), nn.ReLU(), nn.Conv2d(64, 96, 3), nn.ReLU(), nn.Flatten(), nn.Linear(96 * 4, 120)
    )
    return Case(make_version(model.eval(), (torch.rand(4, 3, 6, 6),), levels=(4, 6, 8)))


@pytest.mark.parametrize("engine_name", ENGINES)
@pytest.mark.parametrize("mode", ["fast", "exact"])
def test_tensors_may_be_cut_into_parts_at_levels_of_their_own(engine_name: str, mode: str) -> None:
    """The parts of a tensor share one kernel."""
    engine, net = engine_named(engine_name), wide_case()
    cut = {name for name in net.plan.weights if len(net.plain(net.uniform(4)).snapshot.parts(name)) > 1}
    assert cut == {"2.weight", "5.weight"}
    count = len(net.version.manifest.blocks)
    pager = net.pager(net.uniform(4), engine, exact=mode == "exact")
    for turn in range(5):
        levels = tuple((4, 6, 8)[(turn + at * at) % 3] for at in range(count))
        pager.set_levels(levels)
        assert "5.weight" in net.on_kernels(pager.snapshot)
        (found,), (wanted,) = net.answer(pager.snapshot, engine), net.floats(pager.levels)
        assert_same_weights(pager.snapshot, net.plain(pager.levels).snapshot)
        assert np.linalg.norm(found - wanted) < TOLERANCE * np.linalg.norm(wanted)


@pytest.mark.parametrize("engine_name", ENGINES)
def test_tensors_that_are_packed_leave_their_kernels_with_their_codes(engine_name: str) -> None:
    engine, net = engine_named(engine_name), case()
    pager = net.pager(net.uniform(5), engine)
    net.answer(pager.snapshot, engine)
    plain = net.plain(net.uniform(5)).snapshot
    pager.set_unpacked(())
    assert not net.on_kernels(pager.snapshot)
    assert_same_weights(pager.snapshot, plain)
    np.testing.assert_array_equal(net.answer(pager.snapshot, engine)[0], net.floats(net.uniform(5))[0])
    pager.set_unpacked(net.plan.weights)
    assert net.on_kernels(pager.snapshot)
    assert_same_weights(pager.snapshot, plain)


@pytest.mark.parametrize("engine_name", ENGINES)
def test_biases_that_follow_the_levels_follow_under_kernels_too(engine_name: str) -> None:
    engine = engine_named(engine_name)
    net = Case(mixed_version(case().version, {1: 6}))
    pager = net.pager(net.uniform(2), engine)
    for level in (2, 4, 8, 5, 2):
        pager.set_levels(net.uniform(level))
        assert_same_weights(pager.snapshot, net.plain(net.uniform(level)).snapshot)
        (found,), (wanted,) = net.answer(pager.snapshot, engine), net.floats(net.uniform(level))
        # Ranges are those of the floats; biases that were moved on purpose leave them.
        assert np.linalg.norm(found - wanted) < 0.5 * np.linalg.norm(wanted)
    answers = {
        level: net.answer(net.pager(net.uniform(level), engine).snapshot, engine)[0] for level in (2, 8)
    }
    assert not np.array_equal(answers[2], answers[8])


@pytest.mark.parametrize("engine_name", ENGINES)
def test_calibrated_versions_answer_as_floats_do(engine_name: str, tmp_path: Path) -> None:
    engine = engine_named(engine_name)
    net = trial(tmp_path, normed_net())
    made = net.quantize(
        Order((4, 6, 8), "calibrated", pins=(Pin("3.weight", 6),)), calibration=images(32, 1, 8, 8)
    )
    calibrated = Case(Version(made.manifest("normed", 1), net.store, made.sizes, net.exported))
    pager = calibrated.pager(calibrated.uniform(4), engine)
    for level in (4, 6, 8, 6, 4):
        pager.set_levels(calibrated.uniform(level))
        assert calibrated.on_kernels(pager.snapshot)
        assert_same_weights(pager.snapshot, calibrated.plain(calibrated.uniform(level)).snapshot)
        (found,), (wanted,) = (
            calibrated.answer(pager.snapshot, engine),
            calibrated.floats(calibrated.uniform(level)),
        )
        assert np.linalg.norm(found - wanted) < TOLERANCE * np.linalg.norm(wanted)


@pytest.mark.parametrize("engine_name", ENGINES)
def test_a_shortcut_of_another_shape_is_spread_by_floats(engine_name: str) -> None:
    torch.manual_seed(4)
    net = Case(make_version(Broadcast().eval(), (torch.rand(3, 3, 8, 8),)))
    assert any(layer.added for layer in net.plan.layers.values())
    assert max(net.errors(net.uniform(6), engine_named(engine_name))) < TOLERANCE


def test_without_an_engine_everything_is_floats() -> None:
    net = case()
    pager = net.pager(net.uniform(4), None)
    assert not net.on_kernels(pager.snapshot)
    assert all(isinstance(part.codes, ByteCodes) for part in pager.snapshot.parts("point.weight"))
    (found,), (wanted,) = net.answer(pager.snapshot, None), net.floats(net.uniform(4))
    np.testing.assert_array_equal(found, wanted)
