"""The vectorised flips against a loop over kernels and channels, as the method is published."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from benchmarks.quantize.dedicated.squant import flip, squant
from server.quantize.affine import quantize_rows


def loop(exact: torch.Tensor, bits: int, kernel: int) -> torch.Tensor:
    """One row after the other, one kernel after the other."""
    low, high = -(1 << (bits - 1)), (1 << (bits - 1)) - 1
    rows = []
    for row in exact:
        codes = row.round()
        rises: dict[int, float] = {}
        falls: dict[int, float] = {}
        for start in range(0, len(row), kernel):
            places = range(start, start + kernel)
            error = (codes - row)[start : start + kernel]
            up = {i: float(row[i] - codes[i]) for i in places if codes[i] < row[i] < high}
            down = {i: float(codes[i] - row[i]) for i in places if codes[i] > row[i] > low}
            if kernel == 1:
                rises |= up
                falls |= down
                continue
            following, over = _turn(codes, float(error.sum()), up, down)
            if following is not None:
                rising = float(error.sum()) < 0
                where = falls if rising == over else rises
                where[following] = abs(float(codes[following] - row[following]))
        _turn(codes, float((codes - row).sum()), rises, falls)
        rows.append(codes.clamp(low, high))
    return torch.stack(rows)


def _turn(
    codes: torch.Tensor, total: float, up: dict[int, float], down: dict[int, float]
) -> tuple[int | None, bool]:
    """Turns codes round; gives which one a later step may turn, and whether it was turned here."""
    candidates, direction = (up, 1) if total < 0 else (down, -1)
    order = sorted(candidates, key=lambda place: -candidates[place])
    count = round(abs(total))
    for place in order[:count]:
        codes[place] += direction
    over = count >= abs(total)
    index = count - 1 if over else count
    following = order[index] if 0 <= index < len(order) else None
    return following, over


@pytest.mark.parametrize("bits", [3, 4, 8])
@pytest.mark.parametrize("kernel", [1, 9, 25])
def test_flips_are_those_of_the_loop(bits: int, kernel: int) -> None:
    torch.manual_seed(bits * kernel)
    exact = (torch.rand(12, kernel * 13) - 0.52) * (1 << bits)
    expected = loop(exact, bits, kernel)
    assert (expected != exact.round()).any()
    assert torch.equal(flip(exact, bits, kernel=kernel).float(), expected)


def test_errors_of_kernels_and_channels_nearly_cancel() -> None:
    torch.manual_seed(0)
    exact = torch.rand(20, 90) * 12 - 6
    error = flip(exact, 4, kernel=9) - exact
    assert error.abs().max() < 1
    assert error.view(20, 10, 9).sum(-1).abs().max() < 1.01
    assert error.sum(-1).abs().max() < 0.51
    assert (exact.round() - exact).sum(-1).abs().max() > 1


def test_scale_and_offset_are_plain_and_zeros_stay_zero() -> None:
    weights = np.random.default_rng(0).normal(size=(6, 36)).astype(np.float32)
    weights[2] = 0
    found, plain = squant(weights, 4, kernel=9), quantize_rows(weights, 4)
    np.testing.assert_array_equal(found.scale, plain.scale)
    np.testing.assert_array_equal(found.offset, plain.offset)
    assert np.abs(found.codes.astype(int) - plain.codes).max() == 1
    assert not found.codes[2].any()
