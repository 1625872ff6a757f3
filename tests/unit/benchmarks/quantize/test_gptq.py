from __future__ import annotations

import pytest
import torch

from benchmarks.quantize.dedicated.gptq import fit_to_outputs, gptq
from benchmarks.quantize.dedicated.methods import Tensor, round_to_nearest
from server.quantize.calibration.curvature import damped, inverse_factor


def layer(groups: int, rows: int, inputs: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Weights [groups, rows, inputs] and the damped Hessian of inputs that go together."""
    torch.manual_seed(groups + rows)
    seen = torch.randn(groups, inputs, inputs) @ torch.randn(groups, inputs, 400)
    return torch.randn(groups, rows, inputs), damped(seen @ seen.transpose(1, 2) / 400)


def loss(
    weights: torch.Tensor, hessian: torch.Tensor, codes: torch.Tensor, pair: tuple[torch.Tensor, torch.Tensor]
) -> torch.Tensor:
    scale, offset = pair
    error = (weights - scale[..., None] * codes - offset[..., None]).double()
    return ((error @ hessian.double()) * error).sum(-1)


def plain(weights: torch.Tensor, bits: int) -> tuple[torch.Tensor, tuple[torch.Tensor, torch.Tensor]]:
    affine = round_to_nearest(Tensor("w", weights.reshape(-1, weights.shape[-1])), bits)
    scale, offset = (
        torch.from_numpy(array).view(weights.shape[:2]) for array in (affine.scale, affine.offset)
    )
    return torch.from_numpy(affine.codes).view(weights.shape), (scale, offset)


def test_the_factor_is_of_the_inverse() -> None:
    _, hessian = layer(2, 1, 20)
    factor = inverse_factor(hessian)
    assert torch.equal(factor, factor.triu())
    torch.testing.assert_close(
        factor.transpose(1, 2) @ factor @ hessian, torch.eye(20).expand(2, 20, 20), rtol=0, atol=2e-2
    )


def test_a_layer_that_saw_nothing_has_a_factor() -> None:
    assert torch.equal(inverse_factor(damped(torch.zeros(1, 3, 3))), torch.eye(3)[None])


@pytest.mark.parametrize(("groups", "rows", "inputs"), [(1, 9, 300), (7, 1, 9), (3, 4, 18)])
def test_feedback_lowers_the_error_of_outputs_and_fitting_lowers_it_further(
    groups: int, rows: int, inputs: int
) -> None:
    weights, hessian = layer(groups, rows, inputs)
    before = weights.clone()
    nearest, pair = plain(weights, 4)
    codes = gptq(weights, inverse_factor(hessian), *pair, bits=4)
    assert torch.equal(weights, before)
    assert codes.min() >= -8
    assert codes.max() <= 7
    fed_back = loss(weights, hessian, codes, pair)
    assert fed_back.sum() < 0.8 * loss(weights, hessian, nearest, pair).sum()
    fitted = loss(weights, hessian, codes, fit_to_outputs(codes, weights, hessian, pair[0]))
    assert (fitted <= fed_back * (1 + 1e-4)).all()


def test_inputs_that_do_not_go_together_leave_plain_rounding() -> None:
    weights, _ = layer(1, 5, 30)
    nearest, pair = plain(weights, 3)
    assert torch.equal(gptq(weights, inverse_factor(torch.eye(30)[None]), *pair, bits=3), nearest)
