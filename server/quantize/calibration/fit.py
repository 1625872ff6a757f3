"""Scale and offset of a level, fitted to what the layer answers to its columns."""

from __future__ import annotations

from typing import Final

import torch

_LEAST_DETERMINANT: Final = 1e-9


def fit_to_outputs(
    codes: torch.Tensor, weights: torch.Tensor, hessian: torch.Tensor, scale: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Scale and offset per row with the least squared error of the layer's outputs.

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
    wide = codes.to(torch.float32)
    # About a whole code near the row's mean: equal codes become zeros, and say nothing, exactly.
    middle = wide.mean(-1, keepdim=True).round_()
    wide = wide - middle
    seen, ones_seen = wide @ hessian, hessian.sum(1)[:, None, :]
    cc, c1 = _dot(seen, wide), _dot(ones_seen, wide)
    oo = ones_seen.sum(-1, dtype=torch.float64)
    cw, ow = _dot(seen, weights), _dot(ones_seen, weights)
    determinant = cc * oo - c1 * c1
    fitted = (cw * oo - ow * c1) / determinant
    usable = (determinant > _LEAST_DETERMINANT * cc * oo) & (fitted > 0)
    best = torch.where(usable, fitted, scale.to(torch.float64))
    offset = (ow - best * c1) / oo - best * middle[..., 0]
    return best.float(), offset.float()


def output_error(error: torch.Tensor, hessian: torch.Tensor) -> torch.Tensor:
    """Energy of each row's outputs that an error in its weights makes, the mean over columns.

    Args:
        error: float32 [groups, rows, k].
        hessian: float32 [groups, k, k].

    Returns:
        float64 [groups, rows].
    """
    return _dot(error @ hessian, error)


def _dot(left: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
    """Dot products of rows in double precision: float64 [groups, rows]."""
    return (left * right).sum(-1, dtype=torch.float64)
