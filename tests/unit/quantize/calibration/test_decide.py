"""One layer at one level: what its codes may be, and that samples are served better than by floor."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from common.nesting import join, lower, nest
from server.quantize.affine import Affine, quantize_rows
from server.quantize.calibration.curvature import Curvature, curvature
from server.quantize.calibration.decide import Place, decide, mean_error, window
from server.quantize.frozen import Held, quantize_frozen
from server.quantize.rounding import Rows
from server.quantize.rounding.calibrated import CARRY_BITS, Calibrated
from server.quantize.rounding.floor import Floor
from server.quantize.row_fit import fit_of, grid_of

LEVELS = [(4, 6, 8), (3, 4, 6, 8), (2, 8), (5, 7)]


def layer(
    seed: int, groups: int, rows: int, k: int, *, positions: int = 200
) -> tuple[NDArray[np.float32], Curvature]:
    """Weights [groups * rows, k], and what their layer sees."""
    random = torch.Generator().manual_seed(seed)
    mixed = torch.randn(groups, k, k, generator=random) / k**0.5
    floats = mixed @ torch.randn(groups, k, positions, generator=random) + 1
    weights = torch.randn(groups * rows, k, generator=random)
    return weights.numpy(), curvature([floats], centred=True)


def decided(weights: NDArray[np.float32], seen: Curvature, levels: tuple[int, ...]) -> list[Affine]:
    """All levels, lowest first, each from the one above."""
    plain = quantize_rows(weights, levels[-1])
    found = [plain]
    for low, high in reversed(list(pairwise(levels))):
        place = Place(low, high, levels[-1], CARRY_BITS)
        found.insert(0, decide(torch.from_numpy(weights), seen, plain, found[0].codes, place))
    return found


def output_errors(
    weights: NDArray[np.float32], quantized: NDArray[np.float32], seen: Curvature
) -> NDArray[np.float64]:
    """Energy of each row's error in the outputs, in double precision."""
    groups = len(seen.hessian)
    error = torch.from_numpy(weights - quantized).double().reshape(groups, -1, weights.shape[1])
    energy: NDArray[np.float64] = ((error @ seen.hessian.double()) * error).sum(-1).reshape(-1).numpy()
    return energy


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 1000),
    groups=st.integers(1, 3),
    rows=st.integers(1, 4),
    k=st.integers(1, 12),
    levels=st.sampled_from(LEVELS),
)
def test_codes_are_the_floor_of_those_above_or_the_next_and_shards_lead_back(
    seed: int, groups: int, rows: int, k: int, levels: tuple[int, ...]
) -> None:
    weights, seen = layer(seed, groups, rows, k, positions=30)
    found = decided(weights, seen, levels)
    codes = [affine.codes for affine in found]
    np.testing.assert_array_equal(codes[-1], quantize_rows(weights, levels[-1]).codes)
    for (low, high), below, above in zip(pairwise(levels), codes, codes[1:], strict=False):
        up = below.astype(int) - lower(above, high - low)
        assert set(np.unique(up)) <= {0, 1}
        half = 1 << (low - 1)
        assert below.min() >= -half
        assert below.max() < half
    shard_bits = Calibrated().shard_bits(levels)
    nested = nest(codes, levels, shard_bits)
    for count, wanted in enumerate(codes):
        np.testing.assert_array_equal(join(nested.base, nested.shards[:count], levels, shard_bits), wanted)
    assert all(np.isfinite(affine.weights()).all() and (affine.scale > 0).all() for affine in found)

    rounded = Calibrated()(Rows("w", weights, 1, tuple(found[:-1])), levels)
    np.testing.assert_array_equal(rounded.levels[-1].codes, codes[-1])
    np.testing.assert_array_equal(rounded.levels[0].weights(), found[0].weights())


@given(
    above=st.lists(st.integers(-128, 127), min_size=1, max_size=20),
    levels=st.sampled_from([(4, 6, 6), (4, 8, 8), (2, 8, 8), (7, 8, 8), (2, 3, 3)]),
    carry=st.integers(0, 1),
)
def test_a_window_begins_at_the_floor_and_ends_within_the_range(
    above: list[int], levels: tuple[int, int, int], carry: int
) -> None:
    low, high, full = levels
    half = 1 << (high - 1)
    codes = np.clip(above, -half, half - 1).astype(np.int8)
    least, greatest = window(codes, Place(low, high, full, carry))
    np.testing.assert_array_equal(least, lower(codes, high - low))
    np.testing.assert_array_equal(greatest, np.minimum(least.astype(int) + carry, (1 << (low - 1)) - 1))


@pytest.mark.parametrize("levels", LEVELS)
def test_no_row_serves_the_samples_worse_than_the_floors_fitted_to_them(levels: tuple[int, ...]) -> None:
    for seed in range(20):
        weights, seen = layer(seed, 2, 4, 6, positions=12)
        plain = quantize_rows(weights, levels[-1])
        above = plain.codes
        for low, high in reversed(list(pairwise(levels))):
            rounded, floors = (
                decide(torch.from_numpy(weights), seen, plain, above, Place(low, high, levels[-1], carry))
                for carry in (1, 0)
            )
            np.testing.assert_array_equal(floors.codes, lower(above, high - low))
            mine, theirs = (output_errors(weights, item.weights(), seen) for item in (rounded, floors))
            assert (mine <= theirs * (1 + 1e-4) + 1e-9).all()
            above = rounded.codes


@pytest.mark.parametrize("groups", [1, 3])
def test_outputs_are_much_nearer_than_those_of_floor_without_samples(groups: int) -> None:
    weights, seen = layer(7, groups, 8, 40, positions=500)
    by_samples = decided(weights, seen, (4, 6, 8))
    by_floor = Floor()(Rows("w", weights), (4, 6, 8)).levels
    for mine, floors in zip(by_samples[:-1], by_floor, strict=False):
        ours, theirs = (output_errors(weights, item.weights(), seen).sum() for item in (mine, floors))
        assert ours < 0.8 * theirs


def test_the_mean_error_is_what_outputs_lack_on_average() -> None:
    random = torch.Generator().manual_seed(3)
    floats = torch.randn(2, 5, 50, generator=random) + 2
    weights, quantized = torch.randn(6, 5, generator=random), torch.randn(6, 5, generator=random)
    lacking = mean_error(weights, quantized, curvature([floats], centred=True))
    wanted = (weights - quantized).reshape(2, 3, 5) @ floats
    np.testing.assert_allclose(lacking, wanted.mean(2).reshape(-1), rtol=1e-4, atol=1e-4)
    assert not mean_error(weights, quantized, curvature([floats], centred=False)).any()


@pytest.mark.parametrize("levels", LEVELS)
@pytest.mark.parametrize("value", [0.0, 3.7, -0.2])
def test_rows_of_one_value_are_met(levels: tuple[int, ...], value: float) -> None:
    weights, seen = layer(1, 1, 3, 9)
    weights[1] = value
    for affine in decided(weights, seen, levels)[:-1]:
        np.testing.assert_allclose(affine.weights()[1], value, rtol=0, atol=abs(value) * 1e-4)


@pytest.mark.parametrize("value", [0.0, 1.5, -2.0])
def test_a_tensor_of_one_element_is_met(value: float) -> None:
    column = torch.rand(1, 1, 20)
    seen = curvature([column], centred=False)
    for affine in decided(np.full((1, 1), value, np.float32), seen, (4, 6, 8)):
        np.testing.assert_allclose(affine.weights(), value, rtol=1e-6)


def test_a_layer_that_sees_nothing_is_rounded_to_its_weights() -> None:
    weights, _ = layer(4, 1, 3, 20)
    nothing = torch.zeros(1, 20, 5)
    found = decided(weights, curvature([nothing], centred=True), (4, 8))[0]
    floors = Floor()(Rows("w", weights), (4, 8)).levels[0]
    assert np.square(found.weights() - weights).sum() <= np.square(floors.weights() - weights).sum()


def held_by(found: list[Affine], levels: tuple[int, ...]) -> Held:
    """What a version of these codes has."""
    grid = grid_of(found[-1])
    fits = {
        level: fit_of(grid, affine, level, levels[-1])
        for level, affine in zip(levels[:-1], found[:-1], strict=True)
    }
    carries = {
        low: found[index].codes - lower(found[index + 1].codes, high - low)
        for index, (low, high) in enumerate(pairwise(levels))
    }
    return Held(levels[-1], found[-1].codes, grid, fits, carries)


def decided_after(
    weights: NDArray[np.float32], seen: Curvature, levels: tuple[int, ...], held: Held
) -> list[Affine]:
    plain = quantize_frozen(weights, levels[-1], held)
    found = [plain]
    for low, high in reversed(list(pairwise(levels))):
        place = Place(low, high, levels[-1], CARRY_BITS)
        found.insert(0, decide(torch.from_numpy(weights), seen, plain, found[0].codes, place, held=held))
    return found


@pytest.mark.parametrize("levels", LEVELS)
def test_a_tuned_layer_keeps_what_it_carried_and_answers_as_well(levels: tuple[int, ...]) -> None:
    weights, seen = layer(3, 1, 40, 64)
    held = held_by(decided(weights, seen, levels), levels)
    step = np.float32(0.03) * held.grid.scale[:, None]
    tuned = weights + step * np.random.default_rng(4).normal(size=weights.shape).astype(np.float32)
    kept, fresh = decided_after(tuned, seen, levels, held), decided(tuned, seen, levels)
    for index, (low, high) in enumerate(pairwise(levels)):
        carries = [found[index].codes - lower(found[index + 1].codes, high - low) for found in (kept, fresh)]
        changed, with_fresh = (np.mean(carry != held.carries[low]) for carry in carries)
        assert changed < 0.6 * with_fresh
        lost, least = (output_errors(tuned, found[index].weights(), seen).sum() for found in (kept, fresh))
        assert lost < 1.05 * least
    for (low, high), below, above in zip(pairwise(levels), kept, kept[1:], strict=False):
        assert set(np.unique(below.codes - lower(above.codes, high - low))) <= {0, 1}


def test_a_layer_of_other_weights_decides_as_without_a_version_before() -> None:
    weights, seen = layer(3, 2, 5, 32)
    other, _ = layer(9, 2, 5, 32)
    held = held_by(decided(other, seen, (4, 6, 8)), (4, 6, 8))
    for found, fresh in zip(
        decided_after(weights, seen, (4, 6, 8), held), decided(weights, seen, (4, 6, 8)), strict=True
    ):
        np.testing.assert_array_equal(found.codes, fresh.codes)
