"""Feedback keeps to its windows, and is worth it."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.quantize.dedicated.gptq import gptq
from server.quantize.calibration.curvature import damped, inverse_factor
from server.quantize.calibration.feedback import round_with_feedback
from server.quantize.calibration.fit import fit_to_outputs, output_error


def layer(seed: int, groups: int, rows: int, k: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Weights and the damped Hessian of inputs that go together."""
    random = torch.Generator().manual_seed(seed)
    seen = torch.randn(groups, k, k, generator=random) @ torch.randn(groups, k, 400, generator=random)
    return torch.randn(groups, rows, k, generator=random), damped(seen @ seen.transpose(1, 2) / 400)


def whole(weights: torch.Tensor, bits: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """Scale, offset, and the window of all codes."""
    half = 1 << (bits - 1)
    scale = (weights.amax(2) - weights.amin(2)) / (2 * half - 1) + 1e-6
    offset = weights.amin(2) + half * scale
    least = torch.full(weights.shape, -half, dtype=torch.int8)
    return scale, offset, least, -1 - least


def nearest(weights: torch.Tensor, scale: torch.Tensor, offset: torch.Tensor) -> torch.Tensor:
    return ((weights - offset[..., None]) / scale[..., None]).round()


@settings(max_examples=30, deadline=None)
@given(
    seed=st.integers(0, 1000),
    groups=st.integers(1, 3),
    rows=st.integers(1, 5),
    k=st.integers(1, 20),
    carry=st.integers(0, 1),
)
def test_every_code_is_within_its_window(seed: int, groups: int, rows: int, k: int, carry: int) -> None:
    weights, hessian = layer(seed, groups, rows, k)
    scale, offset, _, _ = whole(weights, 4)
    random = torch.Generator().manual_seed(seed)
    least = torch.randint(-8, 7, weights.shape, generator=random).to(torch.int8)
    greatest = least + carry
    before = weights.clone()
    codes = round_with_feedback(
        weights, inverse_factor(hessian), scale=scale, offset=offset, least=least, greatest=greatest
    )
    assert codes.dtype == torch.int8
    assert bool(((codes >= least) & (codes <= greatest)).all())
    assert torch.equal(weights, before)


def test_columns_that_do_not_go_together_are_rounded_to_the_nearest_within_the_window() -> None:
    weights, _ = layer(1, 2, 5, 30)
    scale, offset, _, _ = whole(weights, 3)
    least = torch.randint(-4, 2, weights.shape, dtype=torch.int8)
    codes = round_with_feedback(
        weights, torch.eye(30).expand(2, 30, 30), scale=scale, offset=offset, least=least, greatest=least + 2
    )
    wanted = torch.minimum(torch.maximum(nearest(weights, scale, offset), least), least + 2)
    assert torch.equal(codes, wanted.to(torch.int8))


@pytest.mark.parametrize(("groups", "rows", "k"), [(1, 9, 300), (7, 2, 9), (3, 4, 18)])
def test_with_the_whole_range_it_is_gptq(groups: int, rows: int, k: int) -> None:
    weights, hessian = layer(5, groups, rows, k)
    factor = inverse_factor(hessian)
    scale, offset, least, greatest = whole(weights, 4)
    codes = round_with_feedback(weights, factor, scale=scale, offset=offset, least=least, greatest=greatest)
    plain = gptq(weights, factor, scale, offset, bits=4)
    # Products are added up in another order: a weight on the edge between two codes may fall the other way.
    assert float((codes == plain).float().mean()) > 0.98
    ours, theirs = (
        output_error(weights - code * scale[..., None] - offset[..., None], hessian).sum()
        for code in (codes, plain)
    )
    assert float(ours) == pytest.approx(float(theirs), rel=0.05)


@pytest.mark.parametrize(("groups", "rows", "k"), [(1, 9, 300), (7, 2, 9), (3, 4, 18)])
def test_outputs_are_nearer_than_by_rounding_to_the_nearest_of_the_same_window(
    groups: int, rows: int, k: int
) -> None:
    weights, hessian = layer(6, groups, rows, k)
    scale, offset, _, _ = whole(weights, 4)
    exact = (weights - offset[..., None]) / scale[..., None]
    least = exact.floor().clamp(-8, 6).to(torch.int8)
    codes = round_with_feedback(
        weights, inverse_factor(hessian), scale=scale, offset=offset, least=least, greatest=least + 1
    )
    plain = torch.minimum(torch.maximum(exact.round(), least), least + 1)

    def error(of: torch.Tensor) -> float:
        return float(output_error(weights - of * scale[..., None] - offset[..., None], hessian).sum())

    assert error(codes) <= error(plain)


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 1000), k=st.integers(2, 24), scale=st.floats(0.01, 100), offset=st.floats(-50, 50))
def test_weights_that_are_affine_in_their_codes_are_fitted(
    seed: int, k: int, scale: float, offset: float
) -> None:
    _, hessian = layer(seed, 2, 3, k)
    random = torch.Generator().manual_seed(seed)
    codes = torch.randint(-8, 8, (2, 3, k), generator=random).to(torch.int8)
    codes[..., 0], codes[..., 1] = -8, 7
    found = fit_to_outputs(codes, scale * codes + offset, hessian, torch.ones(2, 3))
    torch.testing.assert_close(found[0], torch.full((2, 3), scale), rtol=1e-2, atol=1e-3)
    rebuilt = found[0][..., None] * codes + found[1][..., None]
    assert float((rebuilt - scale * codes - offset).abs().max()) < 2e-2 * (8 * scale + abs(offset) + 1)


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 1000), k=st.integers(1, 40), code=st.integers(-128, 127), weight=st.floats(-9, 9))
def test_equal_codes_keep_the_scale_and_meet_the_weight(seed: int, k: int, code: int, weight: float) -> None:
    _, hessian = layer(seed, 1, 1, k)
    codes = torch.full((1, 2, k), code, dtype=torch.int8)
    scale, offset = fit_to_outputs(codes, torch.full((1, 2, k), weight), hessian, torch.full((1, 2), 0.5))
    assert torch.equal(scale, torch.full((1, 2), 0.5))
    torch.testing.assert_close(0.5 * code + offset, torch.full((1, 2), weight), rtol=0, atol=1e-4)
