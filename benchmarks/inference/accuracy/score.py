"""How one model does at one level, both ways."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final

from rich.table import Table

TOP1: Final = "top1"
COSINE: Final = "cosine"
MOST_DIFFERENCE_POINTS: Final = 0.5


@dataclass(frozen=True, slots=True)
class Score:
    """One model at one level.

    Attributes:
        model: Name of the model.
        level: At which all blocks are.
        measure: ``top1``: share of right answers; ``cosine``: mean cosine to what the 32-bit floats answer.
        integer: As a board answers.
        float_arithmetic: With the level's weights dequantized, in 32-bit floats.
        unquantized: With the model's own weights.
    """

    model: str
    level: int
    measure: str
    integer: float
    float_arithmetic: float
    unquantized: float

    @property
    def difference_points(self) -> float:
        """Integer above float arithmetic, in hundredths of the measure."""
        return 100 * (self.integer - self.float_arithmetic)


def score_misses(scores: Iterable[Score]) -> Iterator[str]:
    """A line for each that is further from float arithmetic than it may be."""
    for score in scores:
        if score.measure == TOP1 and abs(score.difference_points) > MOST_DIFFERENCE_POINTS:
            yield (
                f"{score.model}@{score.level}: integer top-1 is {score.difference_points:+.2f} points from"
                f" float arithmetic's, not within {MOST_DIFFERENCE_POINTS}"
            )


def score_table(scores: Iterable[Score]) -> Table:
    """All of them."""
    table = Table(title="integer beside float arithmetic", title_justify="left", title_style="bold")
    table.add_column("model")
    for heading in ("level", "measure", "floats", "float arithmetic", "integer", "points"):
        table.add_column(heading, justify="right")
    for score in scores:
        table.add_row(
            score.model,
            str(score.level),
            score.measure,
            f"{score.unquantized:.4f}",
            f"{score.float_arithmetic:.4f}",
            f"{score.integer:.4f}",
            f"{score.difference_points:+.2f}",
        )
    return table
