"""What every engine keeps: sums that hold whatever values and codes are, and values that come back."""

from __future__ import annotations

import ctypes
import platform
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from common.errors import ConfigError
from common.graph.ranges import LEAST_CODE, Grid, grid_of
from device_agent.inference.integer.engines.choice import choose_engine, engines_here
from device_agent.inference.integer.engines.onednn import OneDnn
from device_agent.inference.integer.engines.packed import Packed
from device_agent.inference.integer.engines.port import (
    Calculation,
    EightBit,
    Engine,
    marked,
    quantized,
    unmarked,
)
from device_agent.inference.integer.layers import Geometry
from tests.support.integer_runs import ENGINES, engine_named

# Codes of the result beside float64: one rounding, and whichever way a tie goes.
CODES = 1
# Packed engines add a shortcut to a result on a wider grid: half a step of that one more.
CODES_ADDED = 3

SHAPES = [  # columns, rows, window, geometry
    (16, 24, 3, Geometry()),
    (16, 24, 1, Geometry(stride=(2, 2))),
    (3, 8, 7, Geometry(stride=(2, 2), padding=(3, 3))),
    (8, 16, 3, Geometry(padding=(2, 2), dilation=(2, 2))),
    (16, 32, 3, Geometry(padding=(1, 1), groups=4)),
    (16, 16, 3, Geometry(padding=(1, 1), groups=16)),
    (16, 16, 5, Geometry(padding=(2, 2), groups=16)),
    (12, 24, 3, Geometry(padding=(1, 1), groups=12)),
]


def values_of(shape: tuple[int, ...], kind: str, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    values = torch.randint(-128, 128, shape, dtype=torch.int8, generator=generator)
    return torch.full_like(values, {"least": -128, "greatest": 127}[kind]) if kind != "any" else values


def codes_of(columns: int, kind: str, side: int = 11, batch: int = 2) -> torch.Tensor:
    generator = torch.Generator().manual_seed(1)
    codes = torch.randint(0, 256, (batch, columns, side, side), dtype=torch.uint8, generator=generator)
    return torch.full_like(codes, 255) if kind != "any" else codes


def wanted(source: EightBit, values: torch.Tensor, what: Calculation) -> torch.Tensor:
    """float64 result, before any grid."""
    geometry = what.geometry
    return torch.nn.functional.conv2d(
        source.floats().double(),
        values.double() * what.scale.double().view(-1, 1, 1, 1),
        None if what.bias is None else what.bias.double(),
        geometry.stride,
        geometry.padding,
        geometry.dilation,
        geometry.groups,
    )


def on(grid: Grid, floats: torch.Tensor) -> torch.Tensor:
    return (floats / grid.scale).round().add(grid.zero_point - LEAST_CODE).clamp(0, 255)


def grid_for(floats: torch.Tensor) -> Grid:
    return grid_of(min(float(floats.min()), 0.0), max(float(floats.max()), 1e-3))


def calculation(engine: Engine, values: torch.Tensor, geometry: Geometry, **changes: object) -> Calculation:
    rows = len(values)
    generator = torch.Generator().manual_seed(2)
    given: dict[str, object] = {
        "scale": torch.rand(rows, generator=generator) * 0.01 + 0.001,
        "bias": torch.randn(rows, generator=generator),
        "output": None,
        "rectified": False,
    }
    columns = values.shape[1] * geometry.groups
    packed = engine.pack(values.clone(), geometry, (1, columns, 11, 11))
    return Calculation(weight=packed, geometry=geometry, **(given | changes))  # type: ignore[arg-type]


def with_grid(what: Calculation, grid: Grid) -> Calculation:
    return replace(what, output=grid)


@pytest.mark.parametrize("name", ENGINES)
@pytest.mark.parametrize("kind", ["any", "least", "greatest"])
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("signs", ["above", "both"])
def test_sums_hold_and_values_come_back(
    name: str, kind: str, shape: tuple[int, int, int, Geometry], signs: str
) -> None:
    engine = engine_named(name)
    columns, rows, window, geometry = shape
    if not engine.takes(geometry, columns // geometry.groups):
        assert (name, geometry.groups) in {("fbgemm", 16), ("fbgemm", 12)}
        return
    values = values_of((rows, columns // geometry.groups, window, window), kind)
    what = calculation(engine, values, geometry)
    if signs == "both":
        what.scale[::2] *= -1
    source = EightBit(codes_of(columns, kind), 0.02, 37)
    expected = wanted(source, values, what)
    what = with_grid(what, grid_for(expected))
    assert what.output is not None
    found = engine.run(source, what, None)
    assert found.dtype == torch.uint8
    assert (found.double() - on(what.output, expected)).abs().max() <= CODES
    assert torch.equal(engine.unpack(what.weight), values)
    assert engine.packed_bytes(what.weight) >= values.numel()


@pytest.mark.parametrize("name", ENGINES)
@pytest.mark.parametrize("least", [-float("inf"), 0.0])
@pytest.mark.parametrize("side", [1.0, 100.0, 1e-3])
def test_shortcuts_are_added(name: str, least: float, side: float) -> None:
    engine = engine_named(name)
    values = values_of((16, 16, 3, 3), "any")
    what = calculation(engine, values, Geometry(padding=(1, 1)))
    source = EightBit(codes_of(16, "any"), 0.02, 37)
    added = EightBit(codes_of(16, "any").flip(0), 0.05 * side, 101)
    expected = (wanted(source, values, what) + added.floats()).clamp(min=least)
    grid = grid_for(expected)
    before = added.codes.clone()
    found = engine.run(source, with_grid(what, grid), EightBit(before, added.scale, added.zero))
    allowed = CODES if name == "onednn" else CODES_ADDED
    assert (found.double() - on(grid, expected)).abs().max() <= allowed


@pytest.mark.parametrize("name", ENGINES)
@pytest.mark.parametrize("scale", [0.0, 1e-45, 1e-38, -1e-30, 1e-12, 1e-9, -1e-6])
def test_rows_that_hardly_count_give_their_bias(name: str, scale: float) -> None:
    """Channels that training switched off: their bias is far beyond what int32 holds in their own units."""
    engine = engine_named(name)
    values = values_of((8, 8, 3, 3), "any")
    what = calculation(engine, values, Geometry())
    what.scale[0] = scale
    source = EightBit(codes_of(8, "any"), 0.02, 37)
    expected = wanted(source, values, what)
    grid = grid_for(expected)
    found = engine.run(source, with_grid(what, grid), None)
    assert (found.double() - on(grid, expected)).abs().max() <= CODES
    assert torch.equal(engine.unpack(what.weight), values)


@pytest.mark.parametrize("name", ENGINES)
@settings(max_examples=30, deadline=None)
@given(
    st.tuples(st.integers(1, 9), st.integers(1, 90), st.integers(1, 40)),
    st.sampled_from([0, 7, 255]),
    st.sampled_from(["all", "above"]),
)
def test_matrices_give_floats(name: str, sizes: tuple[int, int, int], zero: int, kept: str) -> None:
    engine, (pixels, columns, rows) = engine_named(name), sizes
    values = values_of((rows, columns, 1, 1), "any", seed=rows)
    what = calculation(engine, values, Geometry(), rectified=kept == "above")
    generator = torch.Generator().manual_seed(columns)
    codes = torch.randint(0, 256, (1, pixels, 1, columns), dtype=torch.uint8, generator=generator)
    source = EightBit(codes.permute(0, 3, 1, 2), 0.5, zero)
    found = engine.run(source, what, None)
    expected = wanted(source, values, what)
    assert found.dtype == torch.float32
    assert found.shape == expected.shape
    expected = expected.clamp(min=0) if kept == "above" else expected
    torch.testing.assert_close(found.double(), expected, rtol=1e-5, atol=1e-4)
    assert torch.equal(engine.unpack(what.weight), values)


@pytest.mark.parametrize("name", ENGINES)
def test_a_weight_may_be_used_at_other_scales(name: str) -> None:
    """As when biases follow a level: the weight is the same, what it is multiplied by is not."""
    engine = engine_named(name)
    values = values_of((8, 8, 3, 3), "any")
    first = calculation(engine, values, Geometry())
    source = EightBit(codes_of(8, "any"), 0.02, 37)
    for turn in range(3):
        what = replace(first, scale=first.scale * (turn + 1))
        for given_source in (source, EightBit(source.codes, 0.01, 3)):
            expected = wanted(given_source, values, what)
            grid = grid_for(expected)
            found = engine.run(given_source, with_grid(what, grid), None)
            assert (found.double() - on(grid, expected)).abs().max() <= CODES
    assert torch.equal(engine.unpack(first.weight), values)


@pytest.mark.parametrize("name", ["qnnpack", "fbgemm"])
def test_threads_may_share_a_weight_and_torch_keeps_its_own_engine(name: str) -> None:
    engine = engine_named(name)
    before = torch.backends.quantized.engine
    values = values_of((16, 16, 3, 3), "any")
    source = EightBit(codes_of(16, "any"), 0.02, 37)
    first = calculation(engine, values, Geometry())
    grid = grid_for(wanted(source, values, first))

    def use(turn: int) -> bool:
        scale = first.scale if turn % 2 else first.scale.clone()
        what = replace(first, scale=scale, output=grid)
        same = torch.equal(engine.run(source, what, None), engine.run(source, what, None))
        return same and torch.equal(engine.unpack(first.weight), values)

    with ThreadPoolExecutor(4) as pool:
        assert all(pool.map(use, range(64)))
    assert torch.backends.quantized.engine == before


def test_memory_is_stated() -> None:
    values = values_of((16, 16, 3, 3), "any")
    for name, share in (("onednn", 1), ("qnnpack", 2), ("fbgemm", 1)):
        if name in engines_here():
            engine = engine_named(name)
            assert (
                engine.packed_bytes(engine.pack(values, Geometry(), (1, 16, 8, 8))) == share * values.numel()
            )


def test_codes_are_quantized_and_marked_and_unmarked() -> None:
    floats = torch.tensor([-9.0, -1.0, 0.0, 0.3, 3.0, 99.0])
    grid = grid_of(-1.0, 3.0)
    eight = quantized(floats, grid)
    assert eight.codes.dtype == torch.uint8
    torch.testing.assert_close(eight.floats(), floats.clamp(-1, 3), atol=0.51 * grid.scale, rtol=0)
    assert eight.floats()[2] == 0
    part = marked(EightBit(eight.codes, grid.scale, eight.zero))[2:5]
    assert torch.equal(unmarked(part), eight.codes[2:5])


def test_auto_is_the_best_that_is_here() -> None:
    engine = choose_engine("auto")
    if OneDnn.is_here():
        assert engine is not None
        assert engine.name == "onednn"
    elif platform.machine() in {"aarch64", "arm64"} and Packed.is_here("qnnpack"):
        assert engine is not None
        assert engine.name == "qnnpack"
    else:
        assert engine is None


def test_none_is_none() -> None:
    assert choose_engine("none") is None


@pytest.mark.parametrize("name", ENGINES)
def test_an_engine_can_be_named(name: str) -> None:
    assert engine_named(name).name == name


def test_an_engine_that_is_not_here_is_an_error_that_says_which_are() -> None:
    with pytest.raises(ConfigError, match="'cuda'") as caught:
        choose_engine("cuda")
    assert caught.value.advice is not None
    assert all(name in caught.value.advice for name in ("auto", "none", *engines_here()))


@pytest.mark.skipif("onednn" not in ENGINES, reason="no processor for it")
@pytest.mark.parametrize("zero", [0, 37])
@pytest.mark.parametrize("shape", SHAPES)
def test_a_weight_is_packed_anew_only_where_padding_has_a_zero_point(
    zero: int, shape: tuple[int, int, int, Geometry], capfd: pytest.CaptureFixture[str]
) -> None:
    engine = engine_named("onednn")
    columns, rows, window, geometry = shape
    values = values_of((rows, columns // geometry.groups, window, window), "any")
    what = calculation(engine, values, geometry, output=Grid(0.1, 0))
    codes = codes_of(columns, "any", batch=1)  # what the weight was packed for; others may need another order
    source = EightBit(codes.contiguous(memory_format=torch.channels_last), 0.02, zero)
    engine.run(source, what, None)
    libc = ctypes.CDLL(None)  # what oneDNN prints waits in C's own buffer
    with torch.backends.mkldnn.verbose(torch.backends.mkldnn.VERBOSE_ON):  # type: ignore[no-untyped-call]
        libc.fflush(None)
        capfd.readouterr()
        engine.run(source, what, None)
        libc.fflush(None)
        told = capfd.readouterr().out
    ran = [line.split(",")[5] for line in told.splitlines() if ",exec," in line]
    assert ran == (["reorder", "convolution"] if zero and any(geometry.padding) else ["convolution"])
