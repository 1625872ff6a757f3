"""What keeping scales costs: the next version with kept and with fresh ones, both against its own floats."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from rich.table import Table

from benchmarks.update.pairs.pair import Pair
from benchmarks.update.version import Version, make_version


@dataclass(frozen=True, slots=True)
class Fidelity:
    """Of one update at one level.

    Attributes:
        pair: As in ``Row``.
        level: Bits of a code.
        kept: Mean cosine of outputs to those of the floats, with scales kept where they serve.
        fresh: The same with all scales made anew.
    """

    pair: str
    level: int
    kept: float
    fresh: float


def fidelity(pair: Pair, after: Version, rounding: str) -> Iterator[Fidelity]:
    """Each level of the next version.

    Args:
        pair: The floats.
        after: The next version, as it was made with a version before.
        rounding: Mode of both.
    """
    fresh = make_version(pair.after, None, rounding)
    for level in after.manifest.levels:
        scores = [pair.after.scores(version.source(level)) for version in (after, fresh)]
        kept_cosine, fresh_cosine = (score.cosine or 0.0 for score in scores)
        yield Fidelity(pair.name, level, kept_cosine, fresh_cosine)


def fidelity_table(found: Iterable[Fidelity]) -> Table:
    """As people read it."""
    result = Table(title="mean cosine to the floats", title_justify="left", title_style="bold")
    for heading in ("pair", "level", "scales kept", "scales fresh"):
        result.add_column(heading, justify="left" if heading == "pair" else "right", no_wrap=True)
    for item in found:
        result.add_row(item.pair, str(item.level), f"{item.kept:.5f}", f"{item.fresh:.5f}")
    return result
