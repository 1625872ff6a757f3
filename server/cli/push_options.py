"""The options of ``nestfleet push`` that say how to quantize, and what their texts stand for."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, TypeAlias

import typer

from common.errors import InvalidInputError
from server.quantize.order import Pin

Levels: TypeAlias = Annotated[str, typer.Option(metavar="N,N,…", help="Ascending bit-widths within 2..8.")]
Rounding: TypeAlias = Annotated[
    str,
    typer.Option(metavar="MODE", help="How weights come to be levels: floor, adaptive, calibrated or auto."),
]
Refit: TypeAlias = Annotated[
    bool, typer.Option("--refit", help="Fit scales and offsets of part-bit levels; floor always does.")
]
AcceptanceFile: TypeAlias = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE.npz",
        help="At most 64 samples with `labels`; a device must get them right before it switches.",
    ),
]
MinAgreement: TypeAlias = Annotated[
    float, typer.Option(min=0.0, max=1.0, help="Least share of those labels that must be right.")
]
CalibrationFile: TypeAlias = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE.npz", help="Samples without labels, 32 to 512, for --rounding calibrated and auto."
    ),
]
EvaluationFile: TypeAlias = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE.npz", help="At most 10000 samples with `labels`, for top-1 in the fidelity report."
    ),
]
Pins: TypeAlias = Annotated[
    list[str] | None,
    typer.Option(
        "--pin",
        metavar="PATTERN=LEVEL",
        help="Tensors that never run below a level, e.g. 'encoder.*=8'; the last match counts.",
    ),
]
FirstLast: TypeAlias = Annotated[
    int, typer.Option(metavar="LEVEL", help="Level of the first and the last weight; 0: as the others.")
]
BudgetBytes: TypeAlias = Annotated[
    str,
    typer.Option(
        metavar="SIZE",
        help="What all bases may take, e.g. 6MiB; blocks get a higher base while they fit. 0: none does.",
    ),
]
MinFidelity: TypeAlias = Annotated[
    float,
    typer.Option(
        min=0.0, max=1.0, help="Least mean cosine to the floats' outputs at the lowest level; else refused."
    ),
]
Fresh: TypeAlias = Annotated[
    bool,
    typer.Option(
        "--fresh",
        help="Make all scales anew; else those of the newest version stay where that costs no fidelity, "
        "so that updates are small.",
    ),
]


def parse_levels(text: str) -> tuple[int, ...]:
    """The levels in ``"4,6,8"``.

    Raises:
        InvalidInputError: It has another form.
    """
    words = [word.strip() for word in text.split(",")]
    if not all(_is_digit(word) for word in words):
        raise InvalidInputError(f"{text[:80]!r} are no levels.", advice="Write e.g. 4,6,8.")
    return tuple(int(word) for word in words)


def parse_pins(texts: Sequence[str]) -> tuple[Pin, ...]:
    """The pins in ``["encoder.*=8"]``; the last ``=`` parts pattern and level.

    Raises:
        InvalidInputError: One has another form.
    """
    return tuple(_parse_pin(text) for text in texts)


def _parse_pin(text: str) -> Pin:
    pattern, _, level = text.rpartition("=")
    if not pattern or not _is_digit(level):
        raise InvalidInputError(
            f"{text[:80]!r} is no pin.", advice="Write PATTERN=LEVEL, e.g. 'encoder.*=8'."
        )
    return Pin(pattern, int(level))


def _is_digit(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) == 1
