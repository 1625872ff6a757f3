"""GPTQ (Frantar et al., ICLR 2023, arXiv 2210.17323): the columns to come make up for each one's error."""

from __future__ import annotations

import torch

_BLOCK = 128


def gptq(
    weights: torch.Tensor, factor: torch.Tensor, scale: torch.Tensor, offset: torch.Tensor, bits: int
) -> torch.Tensor:
    """Codes whose layer answers to the calibration inputs much as the floats do.

    Args:
        weights: float32 [groups, rows, k]. Not modified.
        factor: float32 [groups, k, k], of ``curvature.inverse_factor``.
        scale: float32 [groups, rows], above 0.
        offset: float32 [groups, rows]: ``weight ≈ scale * codes + offset``.
        bits: Width of a code.

    Returns:
        int8 [groups, rows, k], values in [-2**(bits-1), 2**(bits-1) - 1].
    """
    half = 1 << (bits - 1)
    # [groups, k, rows]: a column is one run of memory. A copy, even where that is the order already.
    open_weights = weights.transpose(1, 2).clone(memory_format=torch.contiguous_format)
    codes = torch.empty_like(open_weights, dtype=torch.int8)
    columns = open_weights.shape[1]
    for start in range(0, columns, _BLOCK):
        stop = min(start + _BLOCK, columns)
        block = open_weights[:, start:stop]
        upper = factor[:, start:stop, start:stop]
        errors = torch.empty_like(block)
        for index in range(stop - start):
            column = block[:, index]
            rounded = ((column - offset) / scale).round_().clamp_(-half, half - 1)
            codes[:, start + index] = rounded.to(torch.int8)
            error = (column - (rounded * scale).add_(offset)) / upper[:, index, index, None]
            errors[:, index] = error
            rest = upper[:, index, index + 1 :, None]
            block[:, index + 1 :] -= rest * error[:, None, :]
        open_weights[:, stop:] -= factor[:, start:stop, stop:].transpose(1, 2) @ errors
    return codes.transpose(1, 2).contiguous()


def fit_to_outputs(
    codes: torch.Tensor, weights: torch.Tensor, hessian: torch.Tensor, scale: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Scale and offset per row with the least squared error of the layer's outputs to calibration inputs.

    With a row's error ``e = weights - scale * codes - offset`` it minimises ``e @ hessian @ e``, in closed
    form.

    Args:
        codes: int8 [groups, rows, k].
        weights: float32 [groups, rows, k].
        hessian: float32 [groups, k, k], damped.
        scale: float32 [groups, rows], kept for a row whose codes say nothing about it.

    Returns:
        Scale and offset, float32 [groups, rows].
    """
    wide, ones = codes.to(torch.float64), torch.ones(codes.shape[-1], dtype=torch.float64)
    matrix = hessian.to(torch.float64)
    seen = wide @ matrix
    ones_seen = matrix.sum(1)[:, None, :]
    cc, c1 = (seen * wide).sum(-1), (seen * ones).sum(-1)
    oo = ones_seen.sum(-1)
    cw, ow = (seen * weights).sum(-1), (ones_seen * weights).sum(-1)
    determinant = cc * oo - c1 * c1
    fitted = (cw * oo - ow * c1) / determinant
    usable = (determinant > 1e-9 * cc * oo) & (fitted > 0)
    best = torch.where(usable, fitted, scale.to(torch.float64))
    return best.float(), ((ow - best * c1) / oo).float()
