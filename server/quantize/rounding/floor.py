"""``floor``: the high bits of plain INT-n, each level with a scale and offset of its own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from common.nesting import lower, split
from server.quantize.affine import Affine
from server.quantize.frozen import keep_fits, quantize_frozen
from server.quantize.refit import refit
from server.quantize.rounding.port import Rounded, Rows


@dataclass(frozen=True, slots=True)
class Floor:
    """Needs no bit beyond the step; the full-bit level is plain INT-n as it is.

    Its part-bit levels are always refitted: floor alone moves every weight down by half a coarse step.
    """

    label = "floor"

    def shard_bits(self, levels: Sequence[int]) -> tuple[int, ...]:
        """The steps themselves."""
        return tuple(high - low for low, high in pairwise(levels))

    def __call__(self, rows: Rows, levels: Sequence[int]) -> Rounded:
        """See ``Rounding``."""
        full = quantize_frozen(rows.weights, levels[-1], rows.held, name=rows.name)
        fitted: list[Affine] = []
        for level in levels[:-1]:
            step_bits = levels[-1] - level
            nominal = full.scale * np.float32(1 << step_bits)
            best = refit(lower(full.codes, step_bits), rows.weights, nominal, rows.means)
            fitted.append(
                keep_fits(
                    best,
                    full,
                    rows.weights,
                    rows.held,
                    level=level,
                    full_level=levels[-1],
                    means=rows.means,
                )
            )
        return Rounded(split(full.codes, levels), (*fitted, full))
