"""What serves requests, as those see it that bring them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class TensorSpec:
    """An input or output of a model.

    Attributes:
        name: How requests call it.
        dtype: Of its values; None where the graph does not state it.
        shape: Sizes; None for the batch, which may be any.
    """

    name: str
    dtype: np.dtype[Any] | None
    shape: tuple[int | None, ...]


@dataclass(frozen=True, slots=True)
class Answer:
    """Outputs of one request.

    Attributes:
        outputs: Name to array, in the graph's order.
        level: Lowest level of any block while it was computed, in bits.
    """

    outputs: Mapping[str, NDArray[Any]]
    level: int


class AnsweringModel(Protocol):
    """A model that is loaded and proven."""

    @property
    def name(self) -> str:
        """The model's name."""

    @property
    def version(self) -> int:
        """Its version."""

    @property
    def inputs(self) -> Sequence[TensorSpec]:
        """What it takes."""

    @property
    def outputs(self) -> Sequence[TensorSpec]:
        """What it gives."""

    @property
    def level(self) -> int:
        """Lowest level of any block at the moment, in bits."""

    @property
    def resident_bytes(self) -> int:
        """Memory that its weights take."""

    def infer(self, inputs: Mapping[str, NDArray[Any]]) -> Answer:
        """The answer to some inputs.

        Raises:
            InvalidInputError: Names, shapes or types are not the model's.
        """
