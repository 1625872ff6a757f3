"""Whether a version's lowest level is good enough for its operator."""

from __future__ import annotations

from typing import Final

from common.errors import InvalidInputError
from common.fidelity import FidelityReport

_NAMED: Final = 3


def check_min_fidelity(report: FidelityReport, least_cosine: float) -> None:
    """Nothing, when the outputs at the lowest level are near enough to the float model's.

    Args:
        report: The version's.
        least_cosine: What the mean cosine must reach, 0..1; 0 asks for nothing.

    Raises:
        InvalidInputError: They are not; says how near they are, and what could be done.
    """
    lowest = report.levels[0]
    if not least_cosine or lowest.output_cosine >= least_cosine:
        return
    figures = ", ".join(f"{found.output_cosine:.4f} at {found.level} bits" for found in report.levels)
    raise InvalidInputError(
        f"At {lowest.level} bits the outputs have a mean cosine of {lowest.output_cosine:.4f} to those of "
        f"the float model, and {least_cosine:g} is asked for. On {report.samples} samples: {figures}.",
        advice=_advice(report),
    )


def _advice(report: FidelityReport) -> str:
    ways = "Choose a higher lowest level, or calibrated rounding with more samples"
    sensitive = sorted(report.blocks, key=lambda block: block.gain, reverse=True)
    names = list(dict.fromkeys(block.first_tensor for block in sensitive if block.gain))[:_NAMED]
    if not names:
        return f"{ways}, or ask for less."
    return (
        f"{ways}, or pin the most sensitive tensors to a higher level: {', '.join(names)}; or ask for less."
    )
