"""The lower panel of the picture: bytes by kind over time, up to what other schemes would have moved."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Final

from matplotlib.axes import Axes
from matplotlib.dates import AutoDateLocator, ConciseDateFormatter, date2num

from server.ledger.kinds import KINDS, MIB, SCHEMES, size_text
from server.ledger.over_time import Course
from server.ledger.savings import Savings
from server.pictures import FAINT, GRID, INK, bare

# A scheme beyond this many times of what is shown would flatten everything else: an arrow stands for it.
_MOST_TIMES: Final = 4.0
_HEADROOM: Final = 1.1
_LEAST_GAP: Final = 0.085  # of the panel's height, between two labels
_LABEL_X: Final = 1.035
_CONNECTOR: Final = {
    "arrowstyle": "-", "color": FAINT, "linewidth": 0.8, "shrinkA": 1, "shrinkB": 0, "relpos": (0, 0.5)
}  # fmt: skip


def draw_course(axes: Axes, savings: Savings, course: Course) -> None:
    """Stacked areas over time, and a line for each other scheme that ends at its name."""
    bare(axes, title="When it was moved, hour by hour (UTC)")
    times = [date2num(_moment(time_ms)) for time_ms in course.times_ms]  # type: ignore[no-untyped-call]
    shown = [(kind, colour) for kind, _, colour in KINDS if kind in course.moved_bytes]
    axes.stackplot(
        times, *([size / MIB for size in course.moved_bytes[kind]] for kind, _ in shown),
        colors=[colour for _, colour in shown], linewidth=0,
    )  # fmt: skip
    limit_bytes = _HEADROOM * max(
        savings.moved_bytes,
        *(size for _, size in _schemes(savings) if size <= _MOST_TIMES * savings.moved_bytes),
        1,
    )
    axes.set_ylim(0, limit_bytes / MIB)
    axes.set_xlim(times[0], times[-1])
    _draw_schemes(axes, savings, limit_bytes)
    locator = AutoDateLocator(minticks=3, maxticks=8)  # type: ignore[no-untyped-call]
    axes.xaxis.set_major_locator(locator)
    axes.xaxis.set_major_formatter(ConciseDateFormatter(locator, tz=UTC))  # type: ignore[no-untyped-call]
    axes.set_ylabel("MiB", color=FAINT)
    axes.grid(axis="y", color=GRID, linewidth=0.8)
    axes.spines["bottom"].set_visible(True)
    axes.spines["bottom"].set_color(FAINT)


def spread(wanted: Sequence[float], least_gap: float, highest: float) -> list[float]:
    """Positions near the wanted ones, in their order and with room between them.

    Args:
        wanted: Ascending.
        least_gap: Between two neighbours.
        highest: The last one is no higher, if all have room below it.
    """
    placed: list[float] = []
    for position in wanted:
        placed.append(max(position, placed[-1] + least_gap) if placed else position)
    ceiling = highest
    for index in reversed(range(len(placed))):
        placed[index] = min(placed[index], ceiling)
        ceiling = placed[index] - least_gap
    return placed


def _schemes(savings: Savings) -> list[tuple[str, int]]:
    """Label and bytes, fewest first; those that charge nothing are left out."""
    sizes = [(label, int(getattr(savings, f"{name}_bytes"))) for name, label in SCHEMES]
    return sorted(((label, size) for label, size in sizes if size), key=lambda item: item[1])


def _draw_schemes(axes: Axes, savings: Savings, limit_bytes: float) -> None:
    moved = [("moved by nestfleet", savings.moved_bytes)] if savings.moved_bytes else []
    lines = sorted([*_schemes(savings), *moved], key=lambda item: item[1])
    heights = [min(1.0, size / limit_bytes) for _, size in lines]
    for (label, size), height, place in zip(lines, heights, spread(heights, _LEAST_GAP, 1.0), strict=True):
        beyond = size > limit_bytes
        ours = moved and label == moved[0][0]
        if not beyond and not ours:
            axes.axhline(size / MIB, color=FAINT, linewidth=1.0, linestyle=(0, (4, 3)))
        axes.annotate(
            f"{label} {size_text(size)}" + (" \N{UPWARDS ARROW}" if beyond else ""),
            xy=(1.0, height), xycoords="axes fraction", xytext=(_LABEL_X, place), textcoords="axes fraction",
            va="center", color=INK, fontsize="small", fontweight="bold" if ours else "normal",
            arrowprops=None if beyond else _CONNECTOR,
        )  # fmt: skip


def _moment(unix_ms: int) -> datetime:
    return datetime.fromtimestamp(unix_ms / 1000, UTC)
