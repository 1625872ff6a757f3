"""How a model shall be published: what an operator chooses, checked before any work is done."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from common.errors import InvalidInputError
from common.names import check_name
from common.nesting import check_levels

# A tensor of torch or an array: one, several in the model's order, or several by the names of its inputs.
Arrays: TypeAlias = Any | Sequence[Any] | Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Acceptance:
    """Samples that a device must answer well before it switches to a version.

    Attributes:
        inputs: One tensor or array, several in the model's order, or by name; axis 0 is the sample.
        labels: int64 [samples]. The class to which the first output must give its highest value.
    """

    inputs: Arrays
    labels: NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Publication:
    """One publication.

    Attributes:
        name: The model's name.
        levels: Ascending bit-widths within 2..8.
        rounding: Rounding mode of the split.
        acceptance: None: the self-test has the example inputs, without labels.
        min_agreement: Least share of labels that a device must hit, 0..1.
        block_size_bytes: Upper bound of a block's largest blob; 0: the server's choice.
        refit: Whether part-bit levels get refitted scales and offsets; ``floor`` always does it.

    Raises:
        InvalidInputError: A value is none of that.
    """

    name: str
    levels: Sequence[int] = (4, 6, 8)
    rounding: str = "floor"
    acceptance: Acceptance | None = None
    min_agreement: float = 0.0
    block_size_bytes: int = 0
    refit: bool = False

    def __post_init__(self) -> None:
        check_name(self.name, what="model")
        check_name(self.rounding, what="rounding mode")
        check_levels(self.levels)
        if not 0.0 <= self.min_agreement <= 1.0:
            raise InvalidInputError(f"A least agreement of {self.min_agreement} is no share within 0..1.")
        if self.min_agreement and self.acceptance is None:
            raise InvalidInputError(
                "A least agreement needs labels to agree with.", advice="Give acceptance samples too."
            )
