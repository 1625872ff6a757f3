"""``calibrated``: codes of the part-bit levels as calibration samples asked for them.

What the samples say is decided layer by layer before any block is coded (``server.quantize.calibration``);
here the decisions become shards. The full-bit level is plain INT-n as it is.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from common.nesting import nest
from server.quantize.frozen import quantize_frozen
from server.quantize.rounding.port import Rounded, Rows

CARRY_BITS = 1


@dataclass(frozen=True, slots=True)
class Calibrated:
    """A code is the floor of the one above or the next, so a shard takes one bit more than its step."""

    label = "calibrated"

    def shard_bits(self, levels: Sequence[int]) -> tuple[int, ...]:
        """One bit more than each step."""
        return tuple(high - low + CARRY_BITS for low, high in pairwise(levels))

    def __call__(self, rows: Rows, levels: Sequence[int]) -> Rounded:
        """See ``Rounding``; ``rows.decided`` has what was decided for each part-bit level."""
        full = quantize_frozen(rows.weights, levels[-1], rows.held, name=rows.name)
        if len(rows.decided) != len(levels) - 1:
            raise ValueError(
                f"{len(rows.decided)} levels of {rows.name!r} are decided, not {len(levels) - 1}"
            )
        codes = [*(affine.codes for affine in rows.decided), full.codes]
        return Rounded(nest(codes, levels, self.shard_bits(levels)), (*rows.decided, full))
