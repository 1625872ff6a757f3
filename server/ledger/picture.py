"""The comparison as a picture."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from matplotlib.axes import Axes

from server.ledger.kinds import KINDS, MIB, SCHEMES, size_text
from server.ledger.over_time import Course
from server.ledger.savings import Savings
from server.ledger.time_panel import draw_course
from server.pictures import FAINT, GRID, INK, bare, new_figure, write

_OTHERS: Final = "#c9ced6"
_BAR_HEIGHT: Final = 0.62


def draw(
    savings: Savings, path: Path, course: Course | None = None, *, title: str = "Bytes moved over the air"
) -> None:
    """A PNG (or what the suffix says): bytes by kind and under the other schemes; below them, over time.

    Args:
        savings: The fleet's row.
        path: Where to.
        course: How they were moved over time; None, or one without times, where that is not known.
        title: Of the upper panel.

    Raises:
        ConfigError: The file cannot be written there, or its suffix is no picture's.
        CapacityError: The disk is full.
    """
    timed = course is not None and course.times_ms
    figure = new_figure(9.2, 8.2 if timed else 4.4)
    upper, *lower = figure.subplots(2 if timed else 1, 1, squeeze=False)[:, 0]
    _draw_moved(upper, savings)
    _draw_schemes(upper, savings)
    _dress(upper, savings, title)
    if course is not None and lower:
        draw_course(lower[0], savings, course)
    if savings.moved_bytes:
        figure.legend(
            loc="outside lower center", ncols=4, frameon=False, labelcolor=INK,
            fontsize="small", handlelength=1.0, handleheight=1.0, columnspacing=1.6,
        )  # fmt: skip
    write(figure, path)


def _draw_moved(axes: Axes, savings: Savings) -> None:
    left = 0.0
    for name, label, colour in KINDS:
        size_bytes = getattr(savings, f"{name}_bytes")
        if size_bytes:
            described = f"{label} {size_text(size_bytes)}"
            axes.barh(0, size_bytes / MIB, left=left, height=_BAR_HEIGHT, color=colour, label=described)
        left += size_bytes / MIB
    axes.annotate(
        size_text(savings.moved_bytes), (left, 0), xytext=(6, 0), textcoords="offset points",
        va="center", color=INK, fontweight="bold",
    )  # fmt: skip


def _draw_schemes(axes: Axes, savings: Savings) -> None:
    for position, (name, _) in enumerate(SCHEMES, start=1):
        size_bytes = getattr(savings, f"{name}_bytes")
        axes.barh(position, size_bytes / MIB, height=_BAR_HEIGHT, color=_OTHERS)
        axes.annotate(
            f"{size_text(size_bytes)}{_ratio(size_bytes, savings.moved_bytes)}", (size_bytes / MIB, position),
            xytext=(6, 0), textcoords="offset points", va="center", color=INK,
        )  # fmt: skip


def _dress(axes: Axes, savings: Savings, title: str) -> None:
    bare(axes, title=title)
    labels = ["nestfleet, measured", *(label for _, label in SCHEMES)]
    axes.set_yticks(range(len(labels)), labels, color=INK)
    axes.get_yticklabels()[0].set_fontweight("bold")
    axes.invert_yaxis()
    largest = max(savings.moved_bytes, *(getattr(savings, f"{name}_bytes") for name, _ in SCHEMES))
    axes.set_xlim(0, max(largest / MIB, 1e-3) * 1.24)
    axes.set_xlabel("MiB", color=FAINT)
    axes.grid(axis="x", color=GRID, linewidth=0.8)
    axes.spines["left"].set_visible(True)
    axes.spines["left"].set_color(FAINT)


def _ratio(size_bytes: int, moved_bytes: int) -> str:
    return f"  ({size_bytes / moved_bytes:.2f}\N{MULTIPLICATION SIGN})" if moved_bytes and size_bytes else ""
