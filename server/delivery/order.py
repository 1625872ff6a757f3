"""What a push announces before its first byte, held against the server's limits."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Final

from common.errors import CapacityError, InvalidInputError
from common.names import check_name
from server.quantize.order import Order, Pin, check_calibration_given
from server.quantize.plan import check_block_size

DEFAULT_ROUNDING: Final = "floor"


class Part(Enum):
    """A part of a push, in the order of the stream; the value is its file's name."""

    GRAPH = "graph.json.zst"
    WEIGHTS = "weights.safetensors"
    SAMPLES = "samples.safetensors"
    CALIBRATION = "calibration.safetensors"
    EVALUATION = "evaluation.safetensors"


OPTIONAL: Final = (Part.CALIBRATION, Part.EVALUATION)


@dataclass(frozen=True, slots=True)
class PushOrder:
    """One publication, as announced.

    Attributes:
        model: A name.
        levels: Ascending bit-widths within 2..8.
        rounding: A rounding mode's name.
        size_bytes: Exact size of every part; 0: an optional one that is absent.
        min_agreement: Least share of acceptance labels, 0..1.
        block_size_bytes: Upper bound of a block's largest blob.
        refit, pins, first_last, budget_bytes, min_fidelity: As in ``server.quantize.order.Order``.
        fresh: Whether all scales are made anew, whatever the version before has.
    """

    model: str
    levels: tuple[int, ...]
    rounding: str
    size_bytes: Mapping[Part, int]
    min_agreement: float
    block_size_bytes: int
    refit: bool = False
    pins: tuple[Pin, ...] = ()
    first_last: int = 0
    budget_bytes: int = 0
    min_fidelity: float = 0.0
    fresh: bool = False

    @property
    def parts(self) -> tuple[Part, ...]:
        """The parts that come, in the order of the stream."""
        return tuple(part for part in Part if self.size_bytes[part])

    @property
    def total_bytes(self) -> int:
        """All parts together."""
        return sum(self.size_bytes.values())

    def quantization(self) -> Order:
        """How to quantize.

        Raises:
            InvalidInputError: A value is none that can be asked for.
        """
        return Order(
            self.levels,
            self.rounding,
            self.block_size_bytes,
            self.min_agreement,
            refit=self.refit,
            pins=self.pins,
            first_last=self.first_last,
            budget_bytes=self.budget_bytes,
            min_fidelity=self.min_fidelity,
        )

    def check(self, limits_bytes: Mapping[Part, int]) -> None:
        """Nothing, when the order is sound.

        Raises:
            InvalidInputError: A name, the levels, a pin or a figure is none, or the samples that the rounding
                needs are absent.
            CapacityError: A part is larger than the server takes.
        """
        check_name(self.model, what="model")
        check_name(self.rounding, what="rounding mode")
        check_calibration_given(self.rounding, given=bool(self.size_bytes[Part.CALIBRATION]))
        self.quantization()
        if not 0.0 <= self.min_agreement <= 1.0:
            raise InvalidInputError(f"A least agreement of {self.min_agreement} is no share within 0..1.")
        check_block_size(self.block_size_bytes)
        for part, limit_bytes in limits_bytes.items():
            self._check_part(part, limit_bytes)

    def _check_part(self, part: Part, limit_bytes: int) -> None:
        size_bytes = self.size_bytes[part]
        if size_bytes < 1 and part not in OPTIONAL:
            raise InvalidInputError(f"The push announces no bytes for its {part.name.lower()}.")
        if size_bytes > limit_bytes:
            raise CapacityError(
                f"The push's {part.name.lower()} has {size_bytes} bytes; this server takes {limit_bytes}.",
                needed_bytes=size_bytes,
                available_bytes=limit_bytes,
                advice=f"Send less, or raise max_{part.name.lower()}_bytes in the server's settings.",
            )
