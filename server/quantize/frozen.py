"""Scales of the version before, kept for a row where that costs no fidelity.

Codes of two versions are only near each other, and their difference small to send, where they stand for the
same numbers. Fine-tuning moves a weight by a fraction of a code and a row's range hardly at all; but a scale
made anew from that range moves every code of the row. So the grid and the fits of the version before stay for
each row that they still suit, judged by what they would lose beside fresh ones. Each version is judged
against fresh ones anew, so the loss never adds up.

A row's error on one grid differs from that on another by chance alone, by a tenth over 100 weights, while
its range says exactly what to expect. So the expected error, with what is clipped, decides; the error itself
only has to be one that chance explains. Weights that stand on a grid, as after training for 8 bits, keep off
others by that.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final

import numpy as np
from numpy.typing import NDArray

from common.rows import Fit, Grid, at_level
from server.quantize.affine import Affine, quantize_rows
from server.quantize.row_chunks import row_chunks
from server.quantize.row_fit import fit_of, grid_of

GRID_TOLERANCE: Final = 0.02  # of a row's squared error: 0.09 dB at most (docs/adr/0013)
FIT_TOLERANCE: Final = 0.01
_STEP_ENERGY: Final = 1 / 12  # of rounding to whole steps, and the variance of that for one weight
_STEP_VARIANCE: Final = 1 / 180
_SIGMAS: Final = 3.0

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class Held:
    """What the version before has for some rows.

    Attributes:
        full_level: Its highest level, of which its grid is.
        codes: int8 [rows, row_weights]. Its codes there.
        grid: Scale and zero point of each row.
        fits: Part-bit level to the fit of each row there.
        carries: Part-bit level whose codes are not the floors of those above to how far above them they are:
            int8 [rows, row_weights].
    """

    full_level: int
    codes: NDArray[np.int8]
    grid: Grid
    fits: Mapping[int, Fit]
    carries: Mapping[int, NDArray[np.int8]] = field(default_factory=dict)

    def __getitem__(self, rows: slice) -> Held:
        """Some of the rows."""
        fits = {level: fit[rows] for level, fit in self.fits.items()}
        carries = {level: carry[rows] for level, carry in self.carries.items()}
        return Held(self.full_level, self.codes[rows], self.grid[rows], fits, carries)


def quantize_frozen(
    weights: NDArray[np.float32],
    bits: int,
    held: Held | None,
    *,
    name: str = "?",
    refine: Callable[[Affine], Affine] = lambda plain: plain,
) -> Affine:
    """Rows as plain INT-n, each on the grid that was held for it where that still suits, else on its own.

    Args:
        weights: float32 [rows, row_weights], finite. Not modified.
        bits: Width of a code.
        held: Of the same rows; None, or of another width: as ``quantize_rows``.
        name: The tensor's name, for messages.
        refine: Makes a mode's own codes of plain ones, row by row, on the same grid.

    Raises:
        InvalidInputError: A weight is NaN or infinite.
    """
    plain = quantize_rows(weights, bits, name=name)
    if held is None or held.full_level != bits:
        return refine(plain)
    on_held = quantize_rows(weights, bits, name=name, grid=held.grid)
    suits = np.empty(len(weights), np.bool_)
    for rows in row_chunks(weights.shape):
        suits[rows] = _suits(weights[rows], _rows(plain, rows), _rows(on_held, rows), held.grid[rows])
    same = _same_grid(grid_of(plain), held.grid)
    fresh, frozen = refine(plain), refine(_where(suits | same, on_held, plain))
    # On one grid a scale that is rounded, as in a blob, gives other codes than one that is not. Those nearer
    # to the codes before are as good, and an unchanged row has none that differ.
    nearer = _distance(frozen.codes, held.codes) < _distance(fresh.codes, held.codes)
    return _where(np.where(same, nearer, suits), frozen, fresh)


def kept_rows(full: Affine, held: Held | None) -> int:
    """How many rows are on the grid that was held for them."""
    return 0 if held is None else int(_same_grid(grid_of(full), held.grid).sum())


def keep_fits(
    fitted: Affine,
    full: Affine,
    weights: NDArray[np.float32],
    held: Held | None,
    *,
    level: int,
    full_level: int,
    means: Floats | None = None,
) -> Affine:
    """A part-bit level as it was fitted, but for rows that the held fit suits as well.

    Args:
        fitted: The level, with the scale and offset nearest to the weights.
        full: The full-bit level of the rows.
        weights: float32 [rows, row_weights].
        held: Of the same rows, if anything is.
        level: The level.
        full_level: That of ``full``.
        means: What columns are multiplied with on average, as ``refit`` takes it.
    """
    if held is None or held.full_level != full_level or level not in held.fits:
        return fitted
    grid, length = grid_of(full), weights.shape[1]
    fresh = at_level(grid, fit_of(grid, fitted, level, full_level, means), level, full_level, length)
    frozen = at_level(grid, held.fits[level], level, full_level, length)
    keep = np.empty(len(weights), np.bool_)
    for rows in row_chunks(weights.shape):
        lost, least = (
            _energy(Affine(fitted.codes[rows], one.scale[rows], one.offset[rows]), weights[rows], means)
            for one in (frozen, fresh)
        )
        keep[rows] = lost <= (1 + FIT_TOLERANCE) * least
    return _where(keep, Affine(fitted.codes, frozen.scale, frozen.offset), fitted)


def _suits(weights: NDArray[np.float32], plain: Affine, on_held: Affine, held: Grid) -> NDArray[np.bool_]:
    """Which rows lose nothing on the held grid beside their own: bool [rows]."""
    grid = grid_of(plain)
    own, others = _losses(weights, plain.codes, grid), _losses(weights, on_held.codes, held)
    noise = _SIGMAS * math.sqrt(2 * _STEP_VARIANCE * weights.shape[1]) * np.square(grid.scale, dtype=float)
    suits: NDArray[np.bool_] = (others.expected <= (1 + GRID_TOLERANCE) * own.expected) & (
        others.found <= (1 + GRID_TOLERANCE) * own.found + noise
    )
    return suits


@dataclass(frozen=True, slots=True)
class _Losses:
    """Squared error of each row: as its grid has one expect, and as it is."""

    expected: Floats
    found: Floats


def _losses(weights: NDArray[np.float32], codes: NDArray[np.int8], grid: Grid) -> _Losses:
    scale = grid.scale[:, None].astype(np.float64)
    off = np.square(weights / scale - (codes - grid.zero[:, None].astype(np.int16)))
    clipped = np.maximum(off - 0.25, 0).sum(axis=1)
    unit = np.square(scale[:, 0])
    return _Losses(unit * (weights.shape[1] * _STEP_ENERGY + clipped), unit * off.sum(axis=1))


def _energy(affine: Affine, weights: NDArray[np.float32], means: Floats | None) -> Floats:
    """What ``refit`` makes least."""
    off = affine.weights() - weights.astype(np.float64)
    seen = 0.0 if means is None else np.square((off * means).sum(axis=1))
    energy: Floats = np.square(off, out=off).sum(axis=1) + seen
    return energy


def _same_grid(one: Grid, other: Grid) -> NDArray[np.bool_]:
    same: NDArray[np.bool_] = (one.scale == other.scale) & (one.zero == other.zero)
    return same


def _distance(one: NDArray[np.int8], other: NDArray[np.int8]) -> NDArray[np.int64]:
    distance: NDArray[np.int64] = np.abs(np.subtract(one, other, dtype=np.int16)).sum(axis=1, dtype=np.int64)
    return distance


def _where(chosen: NDArray[np.bool_], one: Affine, other: Affine) -> Affine:
    """The rows of one that are chosen, the others of the other."""
    return Affine(
        np.where(chosen[:, None], one.codes, other.codes),
        np.where(chosen, one.scale, other.scale),
        np.where(chosen, one.offset, other.offset),
    )


def _rows(affine: Affine, rows: slice) -> Affine:
    return Affine(affine.codes[rows], affine.scale[rows], affine.offset[rows])
