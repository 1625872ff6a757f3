"""Rounding modes: how full-bit codes come to hold lower levels.

A mode is one function of this interface and one entry in ``MODES``; the manifest carries its name.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Protocol

import numpy as np
from numpy.typing import NDArray

from common.errors import InvalidInputError
from common.nesting import Nested, split
from server.quantize.affine import Affine


class Rounding(Protocol):
    """Takes rows of weights apart into a base and shards."""

    def __call__(self, full: Affine, weights: NDArray[np.float32], levels: Sequence[int]) -> Nested:
        """Base and shards whose ``common.nesting.join`` gives the codes of every level.

        Args:
            full: The rows as plain INT-n for n = ``levels[-1]``.
            weights: float32 [rows, row_weights] that they stand for.
            levels: Ascending bit-widths.
        """
        ...


def floor(full: Affine, weights: NDArray[np.float32], levels: Sequence[int]) -> Nested:  # noqa: ARG001
    """The high bits of plain INT-n: the full-bit level stays plain INT-n, bit for bit."""
    return split(full.codes, levels)


MODES: Final[dict[str, Rounding]] = {"floor": floor}


def rounding(name: str) -> Rounding:
    """The mode of that name.

    Raises:
        InvalidInputError: There is none.
    """
    if name not in MODES:
        raise InvalidInputError(
            f"Rounding {name[:80]!r} is not known.", advice=f"Choose one of: {', '.join(sorted(MODES))}."
        )
    return MODES[name]
