"""What a rounding mode is given, what it gives, and what else is known of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from common.nesting import Nested
from server.quantize.affine import Affine
from server.quantize.frozen import Held


@dataclass(frozen=True, slots=True)
class Rows:
    """Some output rows of a tensor.

    Attributes:
        name: The tensor's name, for messages.
        weights: float32 [rows, row_weights]; axis 0 is the output channel. Not to be modified.
        kernel_weights: How many neighbours in a row share one input channel: 9 for a 3x3 convolution, 1 for
            a linear layer. Divides row_weights.
        decided: What calibration samples decided for each part-bit level, lowest first; nothing without.
        held: What the version before has for these rows, to be kept where it costs no fidelity.
        means: float64 [row_weights], as ``refit`` takes them; None where nothing is known.
    """

    name: str
    weights: NDArray[np.float32]
    kernel_weights: int = 1
    decided: tuple[Affine, ...] = ()
    held: Held | None = None
    means: NDArray[np.float64] | None = None


@dataclass(frozen=True, slots=True)
class Rounded:
    """Rows at every level.

    Attributes:
        nested: What crosses the wire.
        levels: Codes, scale and offset of each level, lowest first; ``nested`` joins to these codes.
    """

    nested: Nested
    levels: tuple[Affine, ...]


class Rounding(Protocol):
    """A mode; holds no state, and threads may share it."""

    @property
    def label(self) -> str:
        """What the manifest calls it."""
        ...

    def shard_bits(self, levels: Sequence[int]) -> tuple[int, ...]:
        """The width of each shard; known before any weight is, so that blocks can be planned."""
        ...

    def __call__(self, rows: Rows, levels: Sequence[int]) -> Rounded:
        """The rows at every level.

        Args:
            rows: The weights.
            levels: Ascending bit-widths within 2..8.

        Raises:
            InvalidInputError: A weight is NaN or infinite.
        """
        ...
