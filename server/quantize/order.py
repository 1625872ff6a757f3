"""How a version shall be quantized: what an operator asks for, checked for itself."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from common.errors import InvalidInputError
from common.nesting import check_levels
from server.quantize.plan import DEFAULT_MAX_BLOB_BYTES

MAX_PINS: Final = 256
MAX_PATTERN_LENGTH: Final = 512
_MAX_BUDGET_BYTES: Final = (1 << 63) - 1
_CALIBRATED: Final = "calibrated"


@dataclass(frozen=True, slots=True)
class Pin:
    """Tensors that never run below a level.

    Attributes:
        pattern: Matched against the names of tensors as the shell matches files (``fnmatch``), case matters.
        level: One of the version's levels.

    Raises:
        InvalidInputError: The pattern is empty, or no text that can be sent.
    """

    pattern: str
    level: int

    def __post_init__(self) -> None:
        if not self.pattern or any("\ud800" <= letter <= "\udfff" for letter in self.pattern):
            raise InvalidInputError(
                f"{self.pattern[:80]!r} is no pattern for names of tensors.", advice="Write e.g. 'encoder.*'."
            )


@dataclass(frozen=True, slots=True)
class Order:
    """How to quantize.

    Attributes:
        levels: Ascending bit-widths within 2..8.
        rounding: A name in ``server.quantize.rounding.MODES``.
        max_blob_bytes: Upper bound of a block's largest blob.
        min_agreement: Least share of the samples' labels that a device must hit, 0..1.
        refit: Whether part-bit levels get refitted scales and offsets; ``floor`` always does it.
        pins: Tensors with a higher base; of several that match one tensor, the last counts.
        first_last: The level of the first and the last weight in order of use, as in the paper; 0: as others.
        budget_bytes: What all bases together may take; blocks get a higher base while they fit. 0: no budget,
            every base is at the lowest level.
        min_fidelity: Least mean cosine of the outputs at the lowest level to those of the floats; below it
            nothing is published. 0: no bar.

    Raises:
        InvalidInputError: A value is none of that.
    """

    levels: tuple[int, ...]
    rounding: str = "floor"
    max_blob_bytes: int = DEFAULT_MAX_BLOB_BYTES
    min_agreement: float = 0.0
    refit: bool = False
    pins: tuple[Pin, ...] = ()
    first_last: int = 0
    budget_bytes: int = 0
    min_fidelity: float = 0.0

    def __post_init__(self) -> None:
        levels = check_levels(self.levels)
        if len(self.pins) > MAX_PINS or any(len(pin.pattern) > MAX_PATTERN_LENGTH for pin in self.pins):
            raise InvalidInputError(
                f"There are {len(self.pins)} pins; {MAX_PINS} of {MAX_PATTERN_LENGTH} characters are allowed."
            )
        for what, level in [
            *((f"pin {pin.pattern[:80]!r}", pin.level) for pin in self.pins),
            *([("level of the first and last weight", self.first_last)] if self.first_last else []),
        ]:
            if level not in levels:
                raise InvalidInputError(
                    f"The {what} names {level} bits, which is none of the levels {list(levels)}.",
                    advice="Name one of the version's levels.",
                )
        if not 0 <= self.budget_bytes <= _MAX_BUDGET_BYTES:
            raise InvalidInputError(f"A budget of {self.budget_bytes} bytes is none.")
        if not 0.0 <= self.min_fidelity <= 1.0:
            raise InvalidInputError(f"A least fidelity of {self.min_fidelity} is no cosine within 0..1.")


def check_calibration_given(rounding: str, *, given: bool) -> None:
    """Nothing, when a rounding mode has the samples that it needs.

    Raises:
        InvalidInputError: It has none.
    """
    if rounding == _CALIBRATED and not given:
        raise InvalidInputError(
            "Calibrated rounding needs calibration samples.",
            advice="Give 32 to 512 samples (--calibration FILE.npz), or choose rounding auto or floor.",
        )
