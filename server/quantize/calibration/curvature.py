"""What a layer's columns say about errors in its weight: their second moments, without the mean.

A row's error ``e`` costs ``e @ hessian @ e`` of the output's energy once its mean is taken out by a bias. The
columns are those of the float model, so that each layer answers for its own rounding alone.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

import torch

_DAMPING: Final = 0.01  # share of the diagonal's mean that is added to it (GPTQ, section 3.3)
_TRIES: Final = 6


@dataclass(frozen=True, slots=True, eq=False)
class Curvature:
    """Of one layer, per group of its rows.

    Attributes:
        hessian: float32 [groups, k, k], damped. Second moments of the columns; not finite where those are too
            large for it, and then nothing else means anything.
        order: int64 [groups, k]. The columns, those of most energy first.
        factor: float32 [groups, k, k], upper triangular U with ``U.T @ U`` the inverse of ``hessian``, rows
            and columns in ``order``.
        mean: float32 [groups, k]. Of the columns.

    Where no bias takes the mean error out, the mean is zeros and the moments are not centred.
    """

    hessian: torch.Tensor
    order: torch.Tensor
    factor: torch.Tensor
    mean: torch.Tensor


def curvature(pieces: Iterable[torch.Tensor], *, centred: bool) -> Curvature:
    """The curvature over all columns.

    Args:
        pieces: Columns, float32 [groups, k, positions], at least one piece.
        centred: Whether a bias will take out the mean error.
    """
    count = 0
    sums: list[torch.Tensor] = []
    # Moments are taken about the first piece's mean: about zero, rounding would take the small ones away.
    shift: torch.Tensor | None = None
    for piece in pieces:
        shift = piece.mean(2, keepdim=True) if shift is None else shift
        columns = piece - shift
        parts = [columns.sum(2, dtype=torch.float64), columns @ columns.transpose(1, 2)]
        sums = [total.add_(part) for total, part in zip(sums, parts, strict=True)] if sums else parts
        count += columns.shape[2]
    assert shift is not None  # noqa: S101 - there is a piece
    rest, moments = (total / count for total in sums)
    mean = rest + shift[:, :, 0]
    moments -= _outer(rest, rest)
    if not centred:
        moments += _outer(mean, mean)
        mean = torch.zeros_like(mean)
    hessian, order, factor = _factored(moments)
    return Curvature(hessian, order, factor, mean.float())


def _outer(left: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
    return (left[:, :, None] * right[:, None, :]).float()


def damped(hessian: torch.Tensor, damping: float = _DAMPING) -> torch.Tensor:
    """The Hessian with a share of its diagonal's mean added to the diagonal, so that it can be inverted.

    Args:
        hessian: float32 [groups, k, k]. Not modified.
        damping: The share. A group that sees nothing but zeros gets ones.
    """
    result = hessian.clone()
    diagonal = result.diagonal(dim1=-2, dim2=-1)
    mean = diagonal.mean(-1, keepdim=True)
    diagonal += torch.where(mean > 0, damping * mean, 1.0)
    return result


def inverse_factor(hessian: torch.Tensor) -> torch.Tensor:
    """The upper triangular U with ``U.T @ U`` the inverse of a damped Hessian (GPTQ, section 3.3).

    Args:
        hessian: float32 [groups, k, k], positive definite.

    Returns:
        float32 [groups, k, k].
    """
    inverse = torch.cholesky_inverse(torch.linalg.cholesky(hessian))
    factor: torch.Tensor = torch.linalg.cholesky(inverse, upper=True)
    return factor


def _factored(moments: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """The damped Hessian, its order and factor; damped more where rounding leaves it indefinite."""
    unordered = torch.arange(moments.shape[1]).expand(len(moments), -1)
    identity = torch.eye(moments.shape[1]).expand_as(moments).contiguous()
    if not bool(moments.isfinite().all()):
        return moments, unordered, identity  # the caller says whose fault it is
    damping = _DAMPING
    for _ in range(_TRIES):
        hessian = damped(moments, damping)
        order = hessian.diagonal(dim1=-2, dim2=-1).argsort(dim=-1, descending=True)
        with contextlib.suppress(RuntimeError):  # torch's LinAlgError is one
            factor = inverse_factor(_reordered(hessian, order))
            if bool(factor.isfinite().all()):
                return hessian, order, factor
        damping *= 10
    return identity, unordered, identity


def _reordered(hessian: torch.Tensor, order: torch.Tensor) -> torch.Tensor:
    rows = hessian.gather(1, order[:, :, None].expand_as(hessian))
    return rows.gather(2, order[:, None, :].expand_as(hessian))
