"""Moments are those of a plain computation in double precision, and a factor is there whatever was seen."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from server.quantize.calibration.curvature import Curvature, curvature, damped


def columns(seed: int, groups: int, k: int, positions: int, *, mean: float = 1.0) -> torch.Tensor:
    random = torch.Generator().manual_seed(seed)
    mixed = torch.randn(groups, k, k, generator=random) / k**0.5
    spread: torch.Tensor = mixed @ torch.randn(groups, k, positions, generator=random)
    return spread + mean * torch.randn(groups, k, 1, generator=random)


def plainly(seen: torch.Tensor, *, centred: bool) -> torch.Tensor:
    """The damped Hessian, in double precision."""
    seen = seen.double()
    if centred:
        seen = seen - seen.mean(2, keepdim=True)
    return damped(seen @ seen.transpose(1, 2) / seen.shape[2])


def assert_near(found: torch.Tensor, wanted: torch.Tensor, share: float = 1e-4) -> None:
    assert float((found - wanted).abs().max()) <= share * max(1e-30, float(wanted.abs().max()))


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 1000),
    groups=st.integers(1, 3),
    k=st.integers(1, 12),
    pieces=st.lists(st.integers(1, 40), min_size=1, max_size=5),
    centred=st.booleans(),
)
def test_moments_are_the_plain_ones_however_the_columns_come(
    seed: int, groups: int, k: int, pieces: list[int], *, centred: bool
) -> None:
    seen = columns(seed, groups, k, sum(pieces))
    hessian = plainly(seen, centred=centred)
    scale = float(hessian.abs().max())
    for split in ([seen], torch.split(seen, pieces, 2)):
        found = curvature(split, centred=centred)
        torch.testing.assert_close(found.hessian.double(), hessian, rtol=0, atol=1e-4 * scale)
        wanted = seen.mean(2) if centred else torch.zeros(groups, k)
        torch.testing.assert_close(found.mean, wanted, rtol=1e-4, atol=1e-4)


def test_a_small_spread_about_a_large_mean_is_not_lost() -> None:
    seen = columns(3, 2, 8, 500, mean=1e4)
    found = curvature(torch.split(seen, 100, 2), centred=True)
    assert_near(found.hessian.double(), plainly(seen, centred=True), 2e-3)
    assert_near(found.mean.double(), seen.double().mean(2), 1e-6)


def assert_factored(found: Curvature, share: float = 2e-2) -> None:
    """The factor is that of the inverse, columns in order."""
    assert bool(found.factor.isfinite().all())
    assert torch.equal(found.factor, found.factor.triu())
    order, k = found.order, found.hessian.shape[1]
    assert torch.equal(order.sort(1).values, torch.arange(k).expand_as(order))
    rows = found.hessian.gather(1, order[:, :, None].expand_as(found.hessian))
    ordered = rows.gather(2, order[:, None, :].expand_as(rows)).double()
    factor = found.factor.double()
    product = factor.transpose(1, 2) @ factor @ ordered
    torch.testing.assert_close(product, torch.eye(k).double().expand_as(product), rtol=0, atol=share)


def test_the_factor_is_of_the_inverse_with_the_loudest_columns_first() -> None:
    seen = columns(1, 2, 10, 300) * torch.arange(1, 11)[None, :, None]
    found = curvature([seen], centred=True)
    assert_factored(found)
    energy = found.hessian.diagonal(dim1=1, dim2=2).gather(1, found.order)
    assert bool((energy[:, 1:] <= energy[:, :-1]).all())


@pytest.mark.parametrize("centred", [True, False])
@pytest.mark.parametrize(
    "seen",
    [
        torch.zeros(2, 5, 7),
        torch.ones(2, 5, 7),
        torch.cat([torch.zeros(1, 5, 7), torch.rand(1, 5, 7)]),
        torch.rand(1, 1, 7).expand(1, 5, 7).contiguous(),
        torch.rand(2, 40, 3),
        torch.rand(1, 5, 1),
        1e-25 * torch.rand(1, 5, 7),
        1e-20 * torch.rand(1, 5, 7),
        1e-18 * torch.rand(1, 5, 7),
    ],
    ids=["zeros", "ones", "a dead group", "equal", "few", "one", "1e-25", "1e-20", "1e-18"],
)
def test_what_says_little_has_a_factor_too(seen: torch.Tensor, *, centred: bool) -> None:
    found = curvature([seen], centred=centred)
    assert bool(found.hessian.isfinite().all())
    assert bool(found.factor.isfinite().all())
    assert bool((found.factor.diagonal(dim1=1, dim2=2) > 0).all())


@pytest.mark.parametrize("wrong", [float("nan"), float("inf"), 1e30])
def test_what_is_too_large_shows(wrong: float) -> None:
    seen = torch.rand(1, 4, 9)
    seen[0, 2, 5] = wrong
    found = curvature([seen], centred=True)
    assert not bool(found.hessian.isfinite().all())
