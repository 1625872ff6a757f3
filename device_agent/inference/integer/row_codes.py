"""Inputs of linear layers in 8 bits, each row on a grid of its own.

Activations of transformers have a few columns far beyond all others, and one static grid for all rows wastes
its codes on those: on MiniLM, with weights in float, it costs 0.0066 of the output's cosine, grids of their
own 0.0007. A row is cheap to look at beside what a matrix does with it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import torch

from common.graph.ranges import LEAST_CODE, Grid
from device_agent.inference.integer.engines.port import GREATEST, EightBit, quantized

_LEAST_SPAN: Final = 1e-30
_WHOLE: Final = Grid(1.0, LEAST_CODE)  # codes are the numbers


@dataclass(frozen=True, slots=True, eq=False)
class RowCodes:
    """Rows of 8-bit numbers: ``scale * (codes - zero)``.

    Attributes:
        codes: uint8 [rows, columns].
        scale: float32 [rows, 1], or [1, 1] for all.
        terms: float32 [rows, 3]: minus the zero; the sum of ``codes - zero``; one over the scale. Times the
            three terms of a layer they give, in units of the scale, what its sums of products lack: what the
            zero has added, each row's offset, and the bias.
        lead: Axes of the tensor before its columns.
    """

    codes: torch.Tensor
    scale: torch.Tensor
    terms: torch.Tensor
    lead: tuple[int, ...]


def row_codes(tensor: torch.Tensor) -> RowCodes:
    """The codes of float32 [..., columns]; zero is met exactly, NaN spreads over its row alone."""
    lead, columns = tuple(tensor.shape[:-1]), tensor.shape[-1]
    rows = tensor.reshape(-1, columns).to(torch.float32)
    low = rows.amin(-1, keepdim=True).clamp_(max=0)
    span = rows.amax(-1, keepdim=True).clamp_(min=0).sub_(low).clamp_(min=_LEAST_SPAN)
    inverse = torch.reciprocal(span).mul_(GREATEST)
    minus = low.mul_(inverse).round_()
    # One product and one sum: torch's addcmul is slow with one number for each row, and so is ``to(uint8)``.
    codes = quantized(rows.mul(inverse).sub_(minus), _WHOLE).codes
    return _with_terms(codes, span.div_(GREATEST), minus, inverse, lead)


def rows_of(source: EightBit) -> RowCodes:
    """What is 8-bit already, as rows."""
    lead, columns = tuple(source.codes.shape[:-1]), source.codes.shape[-1]
    codes = source.codes.reshape(-1, columns)
    scale = torch.full((1, 1), source.scale)
    minus = torch.full((len(codes), 1), -float(source.zero))
    return _with_terms(codes, scale, minus, torch.full_like(minus, 1 / source.scale), lead)


def _with_terms(
    codes: torch.Tensor,
    scale: torch.Tensor,
    minus: torch.Tensor,
    inverse: torch.Tensor,
    lead: tuple[int, ...],
) -> RowCodes:
    sums = codes.sum(-1, keepdim=True, dtype=torch.float32)
    terms = torch.cat((minus, sums.add_(minus, alpha=codes.shape[1]), inverse), 1)
    return RowCodes(codes, scale, terms, lead)
