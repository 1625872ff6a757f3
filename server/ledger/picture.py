"""The comparison as a picture."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from matplotlib.axes import Axes

from server.ledger.savings import Savings
from server.pictures import FAINT, GRID, INK, bare, new_figure, write

_MIB: Final = 1024 * 1024
_KINDS: Final = (
    ("base", "base", "#1b6ca8"),
    ("shard", "shards", "#4fa3d9"),
    ("update", "updates", "#0f9d8a"),
    ("metadata", "metadata", "#8a6fb3"),
    ("retransmitted", "retransmitted", "#d1603d"),
)
_SCHEMES: Final = (
    ("paper", "the paper's packing"),
    ("int8", "one INT8 model"),
    ("separate", "one model per level"),
    ("fp32", "FP32"),
)
_OTHERS: Final = "#c9ced6"
_BAR_HEIGHT: Final = 0.62


def draw(savings: Savings, path: Path, *, title: str = "Bytes moved over the air") -> None:
    """A PNG (or what the suffix says): bytes moved by kind, and under the other schemes below.

    Raises:
        ConfigError: The file cannot be written there, or its suffix is no picture's.
        CapacityError: The disk is full.
    """
    figure = new_figure(9.2, 4.4)
    axes = figure.add_subplot()
    _draw_moved(axes, savings)
    _draw_schemes(axes, savings)
    _dress(axes, savings, title)
    if savings.moved_bytes:
        figure.legend(
            loc="outside lower center", ncols=len(_KINDS), frameon=False, labelcolor=INK,
            fontsize="small", handlelength=1.0, handleheight=1.0, columnspacing=1.6,
        )  # fmt: skip
    write(figure, path)


def _draw_moved(axes: Axes, savings: Savings) -> None:
    left = 0.0
    for name, label, colour in _KINDS:
        size_bytes = getattr(savings, f"{name}_bytes")
        if size_bytes:
            described = f"{label} {_size(size_bytes)}"
            axes.barh(0, size_bytes / _MIB, left=left, height=_BAR_HEIGHT, color=colour, label=described)
        left += size_bytes / _MIB
    axes.annotate(
        _size(savings.moved_bytes), (left, 0), xytext=(6, 0), textcoords="offset points",
        va="center", color=INK, fontweight="bold",
    )  # fmt: skip


def _draw_schemes(axes: Axes, savings: Savings) -> None:
    for position, (name, _) in enumerate(_SCHEMES, start=1):
        size_bytes = getattr(savings, f"{name}_bytes")
        axes.barh(position, size_bytes / _MIB, height=_BAR_HEIGHT, color=_OTHERS)
        axes.annotate(
            f"{_size(size_bytes)}{_ratio(size_bytes, savings.moved_bytes)}", (size_bytes / _MIB, position),
            xytext=(6, 0), textcoords="offset points", va="center", color=INK,
        )  # fmt: skip


def _dress(axes: Axes, savings: Savings, title: str) -> None:
    bare(axes, title=title)
    labels = ["nestfleet, measured", *(label for _, label in _SCHEMES)]
    axes.set_yticks(range(len(labels)), labels, color=INK)
    axes.get_yticklabels()[0].set_fontweight("bold")
    axes.invert_yaxis()
    largest = max(savings.moved_bytes, *(getattr(savings, f"{name}_bytes") for name, _ in _SCHEMES))
    axes.set_xlim(0, max(largest / _MIB, 1e-3) * 1.24)
    axes.set_xlabel("MiB", color=FAINT)
    axes.grid(axis="x", color=GRID, linewidth=0.8)
    axes.spines["left"].set_visible(True)
    axes.spines["left"].set_color(FAINT)


def _size(size_bytes: int) -> str:
    if size_bytes < _MIB:
        return f"{size_bytes / 1024:.1f} KiB"
    return f"{size_bytes / _MIB:.1f} MiB"


def _ratio(size_bytes: int, moved_bytes: int) -> str:
    return f"  ({size_bytes / moved_bytes:.2f}\N{MULTIPLICATION SIGN})" if moved_bytes and size_bytes else ""
