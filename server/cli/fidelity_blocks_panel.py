"""Sensitivity by block: a bar as wide as its shards are large and as high as the error that they take out."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.ticker import PercentFormatter

from common.fidelity import BlockSensitivity, FidelityReport
from server.cli.fidelity_table import holds
from server.pictures import FAINT, GRID, INK, bare, legend_above, legend_below

_UNITS: Final = (("MiB", 1 << 20), ("KiB", 1 << 10), ("bytes", 1))
# Of shards, lowest level first: the more bits, the lighter.
_COLOURS: Final = ("#1b6ca8", "#5eaee0", "#b5d8f0", "#0f9d8a", "#6cc7ba", "#c5e5e0")
_NAMED: Final = 5
_LONGEST_NAME: Final = 72
_LEAST_WIDTH: Final = 0.004  # of the whole, so that a tiny block can be seen
_GAP: Final = 0.12  # of a bar's own width
_TOO_NEAR: Final = 0.022  # of the whole: two numbers side by side would touch


@dataclass(frozen=True, slots=True)
class _Bar:
    """A block's place: where its bar begins, how wide it is, both in the axis' unit."""

    block: BlockSensitivity
    left: float
    width: float

    @property
    def middle(self) -> float:
        return self.left + self.width / 2


def draw_blocks(axes: Axes, report: FidelityReport, *, title: str) -> None:
    """Every block with shards, in the model's order; the most sensitive ones by name."""
    blocks = [block for block in report.blocks if block.shards]
    bare(axes, title=title)
    if not blocks:
        axes.set_axis_off()
        axes.annotate("no block has a shard", (0, 1), xycoords="axes fraction", va="top", color=FAINT)
        return
    unit, unit_bytes = _unit(sum(block.shard_bytes for block in blocks))
    bars = tuple(_bars(blocks, unit_bytes))
    _draw_gains(axes, report, bars)
    highest = max(bar.block.gain for bar in bars)
    axes.set_ylim(0, 1.12 * highest or 1.0)
    axes.set_xlim(0, bars[-1].left + bars[-1].width)
    legend_above(axes)
    legend_below(axes, _name_highest(axes, bars))
    axes.grid(axis="y", color=GRID, linewidth=0.8)
    axes.yaxis.set_major_formatter(PercentFormatter(1.0))
    axes.set_ylabel(_what_gains_are(report), color=FAINT, fontsize="small")
    axes.set_xlabel(
        f"shards of all blocks, {unit}: a bar is as wide as its block's are", color=FAINT, fontsize="small"
    )


def _unit(whole_bytes: int) -> tuple[str, int]:
    """The largest unit that they fill."""
    return next((unit for unit in _UNITS if unit[1] <= whole_bytes), _UNITS[-1])


def _bars(blocks: Sequence[BlockSensitivity], unit_bytes: int) -> Iterator[_Bar]:
    whole_bytes = sum(block.shard_bytes for block in blocks)
    left = 0.0
    for block in blocks:
        width = max(block.shard_bytes, _LEAST_WIDTH * whole_bytes) / unit_bytes
        yield _Bar(block, left, width)
        left += width


def _draw_gains(axes: Axes, report: FidelityReport, bars: Sequence[_Bar]) -> None:
    bottoms = [0.0] * len(bars)
    for level, colour in zip([found.level for found in report.levels[1:]], _COLOURS, strict=False):
        gains = [sum(shard.gain for shard in bar.block.shards if shard.level == level) for bar in bars]
        axes.bar(
            [bar.left for bar in bars], gains, [bar.width * (1 - _GAP) for bar in bars], bottoms,
            align="edge", color=colour, label=f"to {level} bits",
        )  # fmt: skip
        bottoms = [bottom + gain for bottom, gain in zip(bottoms, gains, strict=True)]


def _name_highest(axes: Axes, bars: Sequence[_Bar]) -> list[Line2D]:
    """Numbers over the highest bars; their names as entries of a legend."""
    highest = sorted((bar for bar in bars if bar.block.gain), key=lambda bar: bar.block.gain, reverse=True)[
        :_NAMED
    ]
    names = []
    whole = bars[-1].left + bars[-1].width
    for place, bar in enumerate(highest):
        beside = [other for other in highest[:place] if abs(other.middle - bar.middle) < _TOO_NEAR * whole]
        axes.annotate(
            str(bar.block.block), (bar.middle, bar.block.gain), xytext=(0, 2 + 11 * len(beside)),
            textcoords="offset points", ha="center", va="bottom",
            color=INK, fontsize="small", fontweight="bold",
        )  # fmt: skip
        name = f"{bar.block.block}   {_shortened(holds(bar.block))}"
        names.append(Line2D([], [], linestyle="none", label=name))
    return names


def _shortened(name: str) -> str:
    """The end of a name, which tells most; a dollar sign would begin a formula."""
    name = name.replace("$", r"\$")
    return name if len(name) <= _LONGEST_NAME else f"\N{HORIZONTAL ELLIPSIS}{name[1 - _LONGEST_NAME :]}"


def _what_gains_are(report: FidelityReport) -> str:
    if report.sensitivity == "weights":
        return "error in the block's weights, share of their energy"
    return "error in the outputs, share of their energy"
