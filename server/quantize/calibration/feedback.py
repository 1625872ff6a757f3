"""Rounding with error feedback: the columns to come make up for each one's error.

GPTQ (Frantar et al., ICLR 2023, arXiv 2210.17323), within a window of codes per weight: a nested level may
only be as far from the level above as a shard can tell.
"""

from __future__ import annotations

from typing import Final

import torch

_BLOCK: Final = 128


def round_with_feedback(
    weights: torch.Tensor,
    factor: torch.Tensor,
    *,
    scale: torch.Tensor,
    offset: torch.Tensor,
    least: torch.Tensor,
    greatest: torch.Tensor,
) -> torch.Tensor:
    """Codes whose layer answers much as the weights do.

    Args:
        weights: float32 [groups, rows, k], columns in the order of the factor. Not modified.
        factor: float32 [groups, k, k], of ``curvature.inverse_factor``.
        scale: float32 [groups, rows], above 0.
        offset: float32 [groups, rows]: ``weight ≈ scale * codes + offset``.
        least: int8 [groups, rows, k]. The least that each code may be.
        greatest: As ``least``, the greatest.

    Returns:
        int8 [groups, rows, k], each within its window.
    """
    # [groups, k, rows]: a column is one run of memory. A copy, even where that is the order already.
    open_weights = weights.transpose(1, 2).clone(memory_format=torch.contiguous_format)
    floor, ceiling = (
        bound.transpose(1, 2).to(torch.float32, memory_format=torch.contiguous_format)
        for bound in (least, greatest)
    )
    codes = torch.empty_like(open_weights)
    steps = scale.reciprocal()
    columns = open_weights.shape[1]
    for start in range(0, columns, _BLOCK):
        stop = min(start + _BLOCK, columns)
        block = open_weights[:, start:stop]
        upper = factor[:, start:stop, start:stop]
        inverse = upper.diagonal(dim1=1, dim2=2).reciprocal()
        errors = torch.empty_like(block)
        for index in range(stop - start):
            at = start + index
            column = block[:, index]
            code = torch.sub(column, offset, out=codes[:, at]).mul_(steps).round_()
            torch.minimum(code.clamp_(min=floor[:, at]), ceiling[:, at], out=code)
            error = torch.sub(column, code * scale + offset, out=errors[:, index])
            error.mul_(inverse[:, index, None])
            if index + 1 < stop - start:
                block[:, index + 1 :].baddbmm_(
                    upper[:, index, index + 1 :, None], error[:, None, :], alpha=-1
                )
        if stop < columns:
            open_weights[:, stop:].baddbmm_(factor[:, start:stop, stop:].transpose(1, 2), errors, alpha=-1)
    return codes.to(torch.int8).transpose(1, 2).contiguous()
