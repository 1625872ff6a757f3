"""SQuant (Guo et al., ICLR 2022, arXiv 2202.07471): rounding that keeps the sums of the errors small.

Flips change a weight's rounding to its other neighbour until the errors of each kernel, and then those of
each output channel, add up to half a step at most. All kernels and channels take each step at once here; the
result is that of a loop over them, which a test holds.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from server.quantize.affine import Affine, quantize_rows

_CHUNK_WEIGHTS = 1 << 22


@dataclass(frozen=True, slots=True)
class _Flips:
    """One step's outcome.

    Attributes:
        change: float32 like the errors: -1, 0 or 1 to add to codes and errors.
        boundary: int64 [..., 1]: the weight whose flip was the last, or would be the next.
        falls: bool [..., 1]: whether that weight may move down in a later step.
        rises: bool [..., 1]: whether it may move up.
    """

    change: torch.Tensor
    boundary: torch.Tensor
    falls: torch.Tensor
    rises: torch.Tensor


def squant(weights: NDArray[np.float32], bits: int, *, kernel: int, name: str = "?") -> Affine:
    """Asymmetric INT-n per output channel with SQuant's flips.

    Args:
        weights: float32 [rows, row_weights], finite. Axis 0 is the output channel.
        bits: Width of a code, 2..8.
        kernel: Weights of one kernel, neighbours along axis 1; 1 for linear layers, which have no kernels.
        name: The tensor's name, for messages.

    Raises:
        InvalidInputError: A weight is NaN or infinite.
    """
    plain = quantize_rows(weights, bits, name=name)
    codes = np.empty_like(plain.codes)
    rows = max(1, _CHUNK_WEIGHTS // max(1, weights.shape[1]))
    for start in range(0, len(weights), rows):
        part = slice(start, start + rows)
        exact = (weights[part] - plain.offset[part, None]) / plain.scale[part, None]
        codes[part] = flip(torch.from_numpy(exact), bits, kernel=kernel).numpy()
    return Affine(codes, plain.scale, plain.offset)


def flip(exact: torch.Tensor, bits: int, *, kernel: int) -> torch.Tensor:
    """Whole numbers near ``exact`` whose errors add up to about 0 over each kernel and each row.

    Args:
        exact: float32 [rows, row_weights], in units of a step.
        bits: Width of a code.
        kernel: As for ``squant``.

    Returns:
        int8 [rows, row_weights], values in [-2**(bits-1), 2**(bits-1) - 1], at most one step off.
    """
    half = 1 << (bits - 1)
    codes = exact.round()
    error = codes - exact
    up = torch.where((error < 0) & (exact < half - 1), -error, 0)
    down = torch.where((error > 0) & (exact > -half), error, 0)
    if kernel > 1:
        codes, error, up, down = _flip_kernels(codes, error, up, down, kernel)
    codes = codes + _flips(error.sum(-1, keepdim=True), up, down).change
    return codes.clamp_(-half, half - 1).to(torch.int8)


def _flip_kernels(
    codes: torch.Tensor, error: torch.Tensor, up: torch.Tensor, down: torch.Tensor, kernel: int
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """Codes and errors after the flips in kernels; of each, only the boundary weight may still move."""
    shape = codes.shape
    error, up, down = (array.view(shape[0], -1, kernel) for array in (error, up, down))
    flips = _flips(error.sum(-1, keepdim=True), up, down)
    error = error + flips.change
    priority = error.gather(-1, flips.boundary).abs()
    may_rise, may_fall = (
        torch.zeros_like(error).scatter_(-1, flips.boundary, torch.where(allowed, priority, 0)).view(shape)
        for allowed in (flips.rises, flips.falls)
    )
    return codes + flips.change.view(shape), error.view(shape), may_rise, may_fall


def _flips(sums: torch.Tensor, up: torch.Tensor, down: torch.Tensor) -> _Flips:
    """The weights with the largest errors flip, against the sum, as many as its nearest whole number says.

    Args:
        sums: float32 [..., 1], of the errors.
        up: float32 [..., n], priority of moving up, 0 where that is not possible.
        down: The same for moving down.
    """
    rises = sums < 0
    size = sums.abs()
    count = size.round()
    priority, order = torch.where(rises, up, down).sort(dim=-1, descending=True, stable=True)
    flipped = (torch.arange(order.shape[-1]) < count) & (priority > 0)
    direction = torch.where(rises, 1.0, -1.0)
    change = torch.zeros_like(up).scatter_(-1, order, flipped * direction)
    over = count >= size
    place = (count - over.to(count.dtype)).long().clamp_(0, order.shape[-1] - 1)
    possible = (priority.gather(-1, place) > 0) & ((count > 0) | ~over)
    return _Flips(
        change,
        order.gather(-1, place),
        falls=possible & (rises == over),
        rises=possible & (rises != over),
    )
