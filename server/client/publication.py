"""How a model shall be published: what an operator chooses, checked before any work is done."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from common.errors import InvalidInputError
from common.names import check_name
from server.client.labels import whole_numbers
from server.quantize.order import Order, Pin, check_calibration_given
from server.quantize.plan import check_block_size

# A tensor of torch or an array: one, several in the model's order, or several by the names of its inputs.
Arrays: TypeAlias = Any | Sequence[Any] | Mapping[str, Any]


@dataclass(frozen=True, slots=True, eq=False)
class Labelled:
    """Samples with a label each.

    Attributes:
        inputs: One tensor or array, several in the model's order, or by name; axis 0 is the sample.
        labels: int64 [samples]; may be given as a tensor, an array or a list of whole numbers.

    Raises:
        InvalidInputError: The labels are not one whole number per sample.
    """

    inputs: Arrays
    labels: NDArray[np.int64]

    def __post_init__(self) -> None:
        where = f"the {type(self).__name__.lower()} samples"
        object.__setattr__(self, "labels", whole_numbers(self.labels, where=where))


class Acceptance(Labelled):
    """Samples that a device must answer well before it switches to a version.

    The label is the class to which the first output must give its highest value.
    """

    __slots__ = ()


class Evaluation(Labelled):
    """Samples by which the fidelity report measures top-1. The label is the sample's class, from 0."""

    __slots__ = ()


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
        calibration: Inputs, as in ``Labelled``, by which weights are rounded; 1 to 512 samples, better 32.
        evaluation: Labelled samples for the fidelity report, at most 10,000.
        pins: Tensors that never run below a level; of several that match one tensor, the last counts.
        first_last: The level of the first and the last weight in order of use; 0: as the others.
        budget_bytes: What all bases together may take; 0: every base is at the lowest level.
        min_fidelity: Least mean cosine of the outputs at the lowest level to those of the floats, 0..1.
        fresh: Whether all scales are made anew, rather than kept from the model's newest version where that
            costs no fidelity.

    Raises:
        InvalidInputError: A value is none of that, or calibrated rounding has no calibration samples.
    """

    name: str
    levels: Sequence[int] = (4, 6, 8)
    rounding: str = "floor"
    acceptance: Acceptance | None = None
    min_agreement: float = 0.0
    block_size_bytes: int = 0
    refit: bool = False
    calibration: Arrays | None = None
    evaluation: Evaluation | None = None
    pins: tuple[Pin, ...] = ()
    first_last: int = 0
    budget_bytes: int = 0
    min_fidelity: float = 0.0
    fresh: bool = False

    def __post_init__(self) -> None:
        check_name(self.name, what="model")
        check_name(self.rounding, what="rounding mode")
        if self.block_size_bytes:
            check_block_size(self.block_size_bytes)
        check_calibration_given(self.rounding, given=self.calibration is not None)
        Order(
            tuple(self.levels),
            pins=self.pins,
            first_last=self.first_last,
            budget_bytes=self.budget_bytes,
            min_fidelity=self.min_fidelity,
        )
        if not 0.0 <= self.min_agreement <= 1.0:
            raise InvalidInputError(f"A least agreement of {self.min_agreement} is no share within 0..1.")
        if self.min_agreement and self.acceptance is None:
            raise InvalidInputError(
                "A least agreement needs labels to agree with.", advice="Give acceptance samples too."
            )
