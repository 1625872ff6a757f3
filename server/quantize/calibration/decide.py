"""One layer at one part-bit level: codes near those of the level above, then scale and offset, and again.

A row for which the floors of the codes above, fitted, serve the samples better keeps those.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray

from common.rows import Fit, at_level
from server.quantize.affine import Affine
from server.quantize.calibration.curvature import Curvature
from server.quantize.calibration.feedback import round_with_feedback
from server.quantize.calibration.fit import fit_to_outputs, output_error
from server.quantize.frozen import FIT_TOLERANCE, GRID_TOLERANCE, Held
from server.quantize.row_fit import fit_of, grid_of

# Rounding and fitting by turns; more rounds gain little (docs/adr/0010).
_ROUNDS: Final = 3


@dataclass(frozen=True, slots=True)
class Place:
    """Where a level stands.

    Attributes:
        level: The level.
        above: The next level of the tensor.
        full: Its last level.
        carry_bits: How many bits a shard has beyond its step: 0 or 1.
    """

    level: int
    above: int
    full: int
    carry_bits: int


@dataclass(frozen=True, slots=True, eq=False)
class _Rows:
    """A way to put a layer's rows: int8 codes [groups, rows, k], float32 scale and offset [groups, rows]."""

    codes: torch.Tensor
    scale: torch.Tensor
    offset: torch.Tensor

    def where_better(
        self, other: _Rows, target: torch.Tensor, hessian: torch.Tensor, *, tolerance: float = 0.0
    ) -> _Rows:
        """These rows where their outputs are nearer to what the target's would be, else the other ones.

        With a tolerance also where they are as near, or further by that share of the error.
        """
        mine, others = (output_error(target - rows.weights(), hessian) for rows in (self, other))
        # False where it is NaN.
        better = mine <= (1 + tolerance) * others if tolerance else mine < others
        return _Rows(
            torch.where(better[..., None], self.codes, other.codes),
            torch.where(better, self.scale, other.scale),
            torch.where(better, self.offset, other.offset),
        )

    def weights(self) -> torch.Tensor:
        """What the codes stand for: float32 [groups, rows, k]."""
        return self.codes * self.scale[..., None] + self.offset[..., None]

    def affine(self, shape: torch.Size) -> Affine:
        """As the coder takes them, [rows, k]."""
        codes, scale, offset = self.codes.reshape(shape), self.scale.reshape(-1), self.offset.reshape(-1)
        return Affine(codes.numpy(), scale.numpy(), offset.numpy())


def decide(
    weights: torch.Tensor,
    curvature: Curvature,
    plain: Affine,
    above: NDArray[np.int8],
    place: Place,
    *,
    held: Held | None = None,
) -> Affine:
    """Codes, scale and offset of a level.

    Args:
        weights: float32 [rows, k].
        curvature: Of the layer.
        plain: The full-bit level.
        above: int8 [rows, k]. Codes of the level above.
        place: Which level.
        held: Of the same rows: what they carried and how they were fitted stays where it serves as well.
    """
    target = _in_groups(weights, curvature)
    least, greatest = (_in_groups(torch.from_numpy(bound), curvature) for bound in window(above, place))
    scale, offset = (_per_row(array, curvature) for array in _nominal(plain, place))
    floors = _Rows(least, *fit_to_outputs(least, target, curvature.hessian, scale))
    if not place.carry_bits:
        return floors.affine(weights.shape)
    ordered = [_ordered(array, curvature) for array in (target, least, greatest)]
    back = curvature.order.argsort(dim=1)
    codes = least
    for _ in range(_ROUNDS):
        found = round_with_feedback(
            ordered[0], curvature.factor, scale=scale, offset=offset, least=ordered[1], greatest=ordered[2]
        )
        codes = found.gather(2, back[:, None, :].expand_as(found))
        scale, offset = fit_to_outputs(codes, target, curvature.hessian, scale)
    rounded = _Rows(codes, scale, offset).where_better(floors, target, curvature.hessian)
    if held is not None and held.full_level == place.full:
        rounded = _as_before(rounded, held, _Seen(target, curvature, least, greatest), plain, place)
    return rounded.affine(weights.shape)


def mean_error(weights: torch.Tensor, quantized: torch.Tensor, curvature: Curvature) -> NDArray[np.float32]:
    """What the layer's outputs lack on average: float32 [rows]; to be added to a bias.

    Args:
        weights: float32 [rows, k], the floats.
        quantized: float32 [rows, k], as they are dequantized.
        curvature: Of the layer.
    """
    error = _in_groups(weights - quantized, curvature)
    lacking: NDArray[np.float32] = (error @ curvature.mean[:, :, None]).reshape(-1).numpy()
    return lacking


def window(above: NDArray[np.int8], place: Place) -> tuple[NDArray[np.int8], NDArray[np.int8]]:
    """The least and the greatest code of each weight from which a shard leads to the code above.

    With ``carry_bits`` of 1 a code may be the floor of the one above or the next.
    """
    least = np.right_shift(above, np.int8(place.above - place.level))
    ceiling = np.int8((1 << (place.level - 1)) - 1)
    return least, np.minimum(least, ceiling - np.int8(place.carry_bits)) + np.int8(place.carry_bits)


@dataclass(frozen=True, slots=True, eq=False)
class _Seen:
    """What a level is judged by: weights, curvature, and the codes that are possible."""

    target: torch.Tensor
    curvature: Curvature
    least: torch.Tensor
    greatest: torch.Tensor


def _as_before(rows: _Rows, held: Held, seen: _Seen, plain: Affine, place: Place) -> _Rows:
    """The rows, but for those which codes of the version before, or its fit, serve as well."""
    hessian = seen.curvature.hessian
    if place.level in held.carries:
        carry = _in_groups(torch.from_numpy(held.carries[place.level]), seen.curvature)
        codes = torch.minimum(torch.maximum(seen.least + carry, seen.least), seen.greatest)
        earlier = _Rows(codes, *fit_to_outputs(codes, seen.target, hessian, rows.scale))
        rows = earlier.where_better(rows, seen.target, hessian, tolerance=GRID_TOLERANCE)
    if place.level in held.fits:
        affine = _by_held_fit(
            rows.affine(torch.Size(plain.codes.shape)), plain, held.fits[place.level], place
        )
        scale, offset = (_per_row(array, seen.curvature) for array in (affine.scale, affine.offset))
        fitted = _Rows(rows.codes, scale, offset)
        rows = fitted.where_better(rows, seen.target, hessian, tolerance=FIT_TOLERANCE)
    return rows


def _by_held_fit(own: Affine, plain: Affine, held: Fit, place: Place) -> Affine:
    """Scale and offset by the held fit, but its own for a row that comes to the same fit in whole steps.

    A blob says the same of both; a mean error that is taken from them would not be.
    """
    grid = grid_of(plain)
    fit = fit_of(grid, own, place.level, place.full)
    by_held = at_level(grid, held, place.level, place.full, own.codes.shape[1])
    same = (fit.slope == held.slope) & (fit.shift == held.shift)
    return Affine(
        own.codes, np.where(same, own.scale, by_held.scale), np.where(same, own.offset, by_held.offset)
    )


def _nominal(plain: Affine, place: Place) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Scale and offset that stand for the middle of each coarse step."""
    steps = 1 << (place.full - place.level)
    return plain.scale * np.float32(steps), plain.offset + plain.scale * np.float32((steps - 1) / 2)


def _in_groups(rows: torch.Tensor, curvature: Curvature) -> torch.Tensor:
    return rows.reshape(len(curvature.hessian), -1, rows.shape[1])


def _per_row(values: NDArray[np.float32], curvature: Curvature) -> torch.Tensor:
    return torch.from_numpy(values).reshape(len(curvature.hessian), -1)


def _ordered(rows: torch.Tensor, curvature: Curvature) -> torch.Tensor:
    return rows.gather(2, curvature.order[:, None, :].expand_as(rows))
