"""Each operator on integer kernels, beside floats on the same weights.

Tolerances are ``norm(integer - float) / norm(float)``. 8-bit activations cost about 0.004 for each value that
they hold: a step of 1/255 of the range over its root of 12, where the values' root mean square is about a
quarter of the range.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from device_agent.inference.integer.engines.onednn import OneDnn
from device_agent.inference.integer.engines.port import Calculation, EightBit
from device_agent.inference.integer.executor import Executor
from device_agent.residency.pager import Pager
from tests.support.integer_runs import ENGINES, Case, engine_named, trained_looking
from tests.support.versions import make_version

TOLERANCE = 0.02
EXACT = 0.012
LEVELS = (4, 6, 8)


class Shortcut(nn.Module):
    """A residual block; the shortcut comes first or second, as it is or through a convolution."""

    def __init__(self, *, first: bool, projected: bool) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 16, 3, padding=1), nn.ReLU())
        self.one = nn.Sequential(nn.Conv2d(16, 16, 3, padding=1, bias=False), nn.BatchNorm2d(16), nn.ReLU())
        self.two = nn.Sequential(nn.Conv2d(16, 16, 3, padding=1, bias=False), nn.BatchNorm2d(16))
        self.side: nn.Module = nn.Conv2d(16, 16, 1) if projected else nn.Identity()
        self.last = nn.Conv2d(16, 8, 1)
        self.first = first

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        stem = self.stem(image)
        side, main = self.side(stem), self.two(self.one(stem))
        total: torch.Tensor = self.last(torch.relu(side + main if self.first else main + side))
        return total


class Tokens(nn.Module):
    """A table, a norm, and linear layers on three axes."""

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Embedding(200, 48)
        self.norm = nn.LayerNorm(48)
        self.up = nn.Linear(48, 96)
        self.down = nn.Linear(96, 48, bias=False)

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        rows = self.norm(self.table(ids))
        result: torch.Tensor = rows + self.down(nn.functional.gelu(self.up(rows)))
        return result


def plane(*layers: nn.Module) -> nn.Module:
    """Layers behind a convolution, so that their input is 8-bit, and before one, so that their output is."""
    return nn.Sequential(nn.Conv2d(3, 16, 3, padding=1), nn.ReLU(), *layers, nn.LazyConv2d(8, 1))


def normed(*args: object, after: nn.Module | None = None, **kwargs: object) -> nn.Module:
    layer = nn.Conv2d(*args, bias=False, **kwargs)  # type: ignore[arg-type, misc]
    return nn.Sequential(layer, nn.BatchNorm2d(layer.out_channels), after or nn.ReLU())


PLANES: dict[str, Callable[[], nn.Module]] = {
    "plain": lambda: plane(nn.Conv2d(16, 24, 3)),
    "without bias": lambda: plane(nn.Conv2d(16, 24, 3, bias=False)),
    "one pixel": lambda: plane(nn.Conv2d(16, 24, 1)),
    "stride": lambda: plane(nn.Conv2d(16, 24, 3, stride=2)),
    "stride on one axis": lambda: plane(nn.Conv2d(16, 24, 3, stride=(1, 2), padding=(0, 1))),
    "padding": lambda: plane(nn.Conv2d(16, 24, 5, padding=2)),
    "padding on one axis": lambda: plane(nn.Conv2d(16, 24, (1, 7), padding=(0, 3))),
    "dilation": lambda: plane(nn.Conv2d(16, 24, 3, dilation=2, padding=2)),
    "groups": lambda: plane(nn.Conv2d(16, 24, 3, groups=4, padding=1)),
    "depthwise": lambda: plane(nn.Conv2d(16, 16, 3, groups=16, padding=1)),
    "depthwise, two each": lambda: plane(nn.Conv2d(16, 32, 5, groups=16, padding=2, stride=2)),
    "norm": lambda: plane(normed(16, 24, 3, after=nn.Identity())),
    "norm and relu": lambda: plane(normed(16, 24, 3, padding=1)),
    "norm and relu6": lambda: plane(normed(16, 24, 3, padding=1, after=nn.ReLU6())),
    "depthwise, norm and relu6": lambda: plane(normed(16, 16, 3, padding=1, groups=16, after=nn.ReLU6())),
    "hardtanh": lambda: plane(nn.Conv2d(16, 24, 3), nn.Hardtanh(-0.5, 0.25)),
    "silu": lambda: plane(nn.Conv2d(16, 24, 3), nn.SiLU()),
    "shortcut": lambda: Shortcut(first=False, projected=False),
    "shortcut first": lambda: Shortcut(first=True, projected=False),
    "projected shortcut": lambda: Shortcut(first=False, projected=True),
    "projected shortcut first": lambda: Shortcut(first=True, projected=True),
    "greatest of a window": lambda: plane(nn.MaxPool2d(3, 2, 1)),
    "greatest, to the last": lambda: plane(nn.MaxPool2d(2, ceil_mode=True)),
    "greatest, dilated": lambda: plane(nn.MaxPool2d((3, 2), 1, dilation=(2, 1))),
    "mean of a window": lambda: plane(nn.AvgPool2d(2)),
    "mean of all": lambda: nn.Sequential(
        plane(normed(16, 24, 3)), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 10)
    ),
    "flat": lambda: nn.Sequential(plane(nn.MaxPool2d(2)), nn.ReLU(), nn.Flatten(), nn.LazyLinear(10)),
}


@cache
def plane_case(name: str, rounding: str = "floor") -> Case:
    torch.manual_seed(1)
    model = PLANES[name]()
    images = torch.rand(4, 3, 14, 15) * 2 - 0.7
    model.eval()(images)
    trained_looking(model)
    return Case(make_version(model, (images,), levels=LEVELS, rounding=rounding))


@pytest.mark.parametrize("name", PLANES)
@pytest.mark.parametrize("engine_name", ENGINES)
def test_convolutions_answer_as_floats_do(name: str, engine_name: str) -> None:
    engine, case = engine_named(engine_name), plane_case(name)
    for level in LEVELS:
        assert max(case.errors(case.uniform(level), engine)) < TOLERANCE, level


@pytest.mark.parametrize("name", PLANES)
def test_offsets_apart_are_more_exact(name: str) -> None:
    engine, case = engine_named("onednn"), plane_case(name)
    for level in LEVELS:
        assert max(case.errors(case.uniform(level), engine, exact=True)) < EXACT, level


@pytest.mark.parametrize("name", PLANES)
def test_kernels_hold_what_they_should(name: str) -> None:
    """Only then do the tests above say anything."""
    case = plane_case(name)
    every = set(case.plan.weights)
    assert every == {part.name for block in case.version.manifest.blocks for part in block.tensors}
    held = {
        engine: case.on_kernels(case.pager(case.uniform(6), engine_named(engine)).snapshot)
        for engine in ENGINES
    }
    assert held["onednn"] == every
    eight_bit = {
        layer.weight
        for layer in case.plan.layers.values()
        if layer.kind == "linear" or layer.value in case.plan.eight_bit
    }
    assert held["qnnpack"] == eight_bit
    depthwise = {layer.weight for layer in case.plan.layers.values() if layer.geometry.groups == 16}
    assert held["fbgemm"] == eight_bit - depthwise


LINES: dict[str, Callable[[], tuple[nn.Module, torch.Tensor]]] = {
    "two axes": lambda: (nn.Sequential(nn.Linear(40, 64), nn.ReLU(), nn.Linear(64, 10)), torch.randn(8, 40)),
    "without bias": lambda: (nn.Linear(40, 64, bias=False), torch.randn(8, 40)),
    "three axes": lambda: (
        nn.Sequential(nn.Linear(24, 33), nn.Tanh(), nn.Linear(33, 17)),
        torch.randn(4, 5, 24),
    ),
    "one row": lambda: (nn.Linear(100, 3), torch.randn(1, 100)),
    "outliers": lambda: (
        nn.Linear(64, 32),
        torch.randn(8, 64) * torch.cat((torch.ones(63), torch.tensor([40.0]))),
    ),
    "ends of a sign": lambda: (nn.Linear(64, 32), torch.randn(8, 64).sign()),
    "relu6": lambda: (nn.Sequential(nn.Linear(40, 64), nn.ReLU6(), nn.Linear(64, 10)), 9 * torch.rand(8, 40)),
    "table": lambda: (Tokens(), torch.randint(0, 200, (4, 7))),
}


@cache
def line_case(name: str, rounding: str = "floor") -> Case:
    torch.manual_seed(2)
    model, inputs = LINES[name]()
    return Case(make_version(model.eval(), (inputs,), levels=LEVELS, rounding=rounding))


@pytest.mark.parametrize("name", LINES)
@pytest.mark.parametrize("engine_name", ENGINES)
def test_linear_layers_answer_as_floats_do(name: str, engine_name: str) -> None:
    engine, case = engine_named(engine_name), line_case(name)
    assert case.plan.weights
    for level in LEVELS:
        pager = case.pager(case.uniform(level), engine)
        assert case.on_kernels(pager.snapshot) == set(case.plan.weights)
        assert max(case.errors(case.uniform(level), engine)) < EXACT, level


@pytest.mark.parametrize("name", LINES)
def test_all_engines_give_linear_layers_the_same_bits(name: str) -> None:
    case = line_case(name)
    answers = []
    for engine in map(engine_named, ENGINES):
        snapshot = case.pager(case.uniform(4), engine).snapshot
        answers.append([output.tobytes() for output in case.answer(snapshot, engine)])
    assert answers[0] == answers[1] == answers[2]


@pytest.mark.parametrize("rounding", ["floor", "adaptive"])
@pytest.mark.parametrize("engine_name", ENGINES)
def test_blocks_may_be_at_levels_of_their_own(rounding: str, engine_name: str) -> None:
    engine = engine_named(engine_name)
    for case in (plane_case("projected shortcut", rounding), line_case("table", rounding)):
        count = len(case.version.manifest.blocks)
        for turn in range(3):
            levels = tuple(LEVELS[(turn + at) % 3] for at in range(count))
            assert max(case.errors(levels, engine)) < TOLERANCE, levels


@pytest.mark.parametrize("engine_name", ENGINES)
def test_values_beyond_their_ranges_are_clipped_and_nothing_wraps(engine_name: str) -> None:
    """Inputs thrice as large as those that the ranges were seen with: ends stay ends."""
    engine, case = engine_named(engine_name), plane_case("norm and relu6")
    levels = case.uniform(8)
    inputs = [3 * tensor for tensor in case.version.exported.inputs]
    snapshot = case.pager(levels, engine).snapshot
    (found,), (wanted,) = case.answer(snapshot, engine, inputs), case.floats(levels, inputs)
    assert np.isfinite(found).all()
    assert np.corrcoef(found.ravel(), wanted.ravel())[0, 1] > 0.8


@pytest.mark.parametrize("engine_name", ENGINES)
@pytest.mark.parametrize("size", [(1, 14, 15), (7, 14, 15)])
def test_batches_may_be_of_any_size(engine_name: str, size: tuple[int, int, int]) -> None:
    engine, case = engine_named(engine_name), plane_case("projected shortcut")
    batch, *sides = size
    inputs = [torch.rand(batch, 3, *sides) * 2 - 0.7]
    levels = case.uniform(6)
    snapshot = case.pager(levels, engine).snapshot
    (found,), (wanted,) = case.answer(snapshot, engine, inputs), case.floats(levels, inputs)
    assert np.linalg.norm(found - wanted) < TOLERANCE * np.linalg.norm(wanted)


@pytest.mark.parametrize("engine_name", ENGINES)
def test_the_same_request_gets_the_same_bits_and_leaves_its_input(engine_name: str) -> None:
    engine, case = engine_named(engine_name), plane_case("shortcut")
    snapshot = case.pager(case.uniform(4), engine).snapshot
    before = [tensor.clone() for tensor in case.version.exported.inputs]
    first, second = (case.answer(snapshot, engine)[0].tobytes() for _ in range(2))
    assert first == second
    assert all(
        torch.equal(one, other) for one, other in zip(before, case.version.exported.inputs, strict=True)
    )


class Turned(nn.Module):
    """A shortcut whose other reader is a view of it, which is read once the shortcut is gone."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 16, 3, padding=1), nn.ReLU())
        self.main = nn.Sequential(nn.Conv2d(3, 16, 1), nn.Conv2d(16, 16, 3, padding=1))
        self.last, self.side = nn.Conv2d(16, 8, 1), nn.Conv2d(16, 8, 1)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        stem = self.stem(image)
        turned = stem.transpose(2, 3)
        total = torch.relu(self.main(image) + stem)
        result: torch.Tensor = self.last(total) + self.side(turned)
        return result


@pytest.mark.parametrize("engine_name", ENGINES)
def test_a_shortcut_that_a_view_still_shows_is_not_overwritten(engine_name: str) -> None:
    torch.manual_seed(0)
    case = Case(make_version(Turned().eval(), (torch.rand(2, 3, 8, 8),), levels=LEVELS))
    assert any(layer.added for layer in case.plan.layers.values())
    assert max(case.errors(case.uniform(8), engine_named(engine_name))) < TOLERANCE


class OnePixel(nn.Module):
    """A shortcut of one pixel, added to a convolution of any window."""

    def __init__(self, **geometry: Any) -> None:
        super().__init__()
        self.main, self.side = nn.Conv2d(3, 16, 3, **geometry), nn.Conv2d(3, 16, 9)
        self.last = nn.Conv2d(16, 8, 1)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        result: torch.Tensor = self.last(torch.relu(self.side(image) + self.main(image)))
        return result


class Adding(OneDnn):
    """Counts the shortcuts that it adds."""

    count = 0

    def run(self, source: EightBit, what: Calculation, added: EightBit | None) -> torch.Tensor:
        self.count += added is not None
        return super().run(source, what, added)


@pytest.mark.parametrize(
    ("geometry", "added"),
    [
        ({}, 0),
        ({"stride": 2, "padding": 1}, 0),
        ({"stride": (9, 1)}, 0),
        ({"dilation": (4, 3)}, 0),
        ({"dilation": 4}, 1),
        ({"stride": 9, "padding": 1}, 1),
    ],
)
def test_a_kernel_adds_a_shortcut_that_is_as_large_as_the_sum(geometry: dict[str, Any], added: int) -> None:
    engine_named("onednn")
    torch.manual_seed(0)
    engine = Adding()
    case = Case(make_version(OnePixel(**geometry).eval(), (torch.rand(2, 3, 9, 9),), levels=LEVELS))
    assert max(case.errors(case.uniform(8), engine)) < TOLERANCE
    assert engine.count == added


@pytest.mark.parametrize("engine_name", ENGINES)
@pytest.mark.parametrize(
    ("name", "left_out"),
    [
        ("shortcut", "stem.0.weight"),  # the shortcut has its channels first then
        ("projected shortcut first", "one.0.weight"),
        ("projected shortcut first", "two.0.weight"),
        ("projected shortcut first", "side.weight"),
    ],
)
def test_each_layer_may_be_left_to_floats(engine_name: str, name: str, left_out: str) -> None:
    """What is slower on a kernel than in floats is: its neighbours take floats then, in any layout."""
    engine, case = engine_named(engine_name), plane_case(name)
    executor = Executor(case.plan, engine)
    executor.ready = frozenset(case.plan.weights) - {left_out}
    levels, version = case.uniform(6), case.version
    pager = Pager(
        version.manifest, version.read, levels, unpacked=case.plan.weights, prepare=executor.prepare
    )
    assert left_out not in case.on_kernels(pager.snapshot)
    (found,), (wanted,) = case.answer(pager.snapshot, engine), case.floats(levels)
    assert np.linalg.norm(found - wanted) < TOLERANCE * np.linalg.norm(wanted)
