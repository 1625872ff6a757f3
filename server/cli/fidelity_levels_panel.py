"""Fidelity over bytes, one point per level."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Final

from matplotlib.axes import Axes

from common.byte_sizes import format_bytes
from common.fidelity import LEAST_COSINE, TOP1_ROOM, FidelityReport
from server.pictures import FAINT, GRID, INK, bare, legend_below

_MIB: Final = 1 << 20
_WORTH: Final = "#eef6f3"
_ROOM: Final = 0.08  # of the axis, beyond the outermost points


def draw_levels(axes: Axes, report: FidelityReport, *, title: str) -> None:
    """Cosine and, where the report has them, agreements with the float model and with labels."""
    sizes = [found.size_bytes / _MIB for found in report.levels]
    for label, colour, values in _series(report):
        axes.plot(
            sizes, values, color=colour, marker="o", markersize=6, linewidth=2, label=label, clip_on=False
        )
    room = _ROOM * (max(sizes) - min(sizes) or max(sizes))
    axes.set_xlim(min(sizes) - room, max(sizes) + 2 * room)
    bar = LEAST_COSINE if report.fp32_top1 is None else report.fp32_top1 - TOP1_ROOM
    least = min(bar, *(value for _, _, values in _series(report) for value in values))
    axes.set_ylim(max(math.floor((least - 0.02) * 20) / 20, -1.0), 1.0)
    _draw_bar(axes, report, bar)
    bare(axes, title=title)
    axes.grid(axis="y", color=GRID, linewidth=0.8)
    ticks = [f"{found.level} bits\n{format_bytes(found.size_bytes)}" for found in report.levels]
    axes.set_xticks(sizes, ticks, color=INK)
    axes.set_xlabel(
        f"bytes for all blobs up to that level; {_samples(report)}", color=FAINT, fontsize="small"
    )
    legend_below(axes, axes.get_legend_handles_labels()[0])


def _series(report: FidelityReport) -> Iterator[tuple[str, str, list[float]]]:
    """Label, colour and one value per level."""
    yield "cosine of the outputs", "#1b6ca8", [found.output_cosine for found in report.levels]
    same = [found.argmax_agreement for found in report.levels if found.argmax_agreement is not None]
    if len(same) == len(report.levels):
        yield "same argmax as the floats", "#0f9d8a", same
    hits = [found.top1 for found in report.levels if found.top1 is not None]
    if len(hits) == len(report.levels):
        yield "top-1", "#d1603d", hits


def _draw_bar(axes: Axes, report: FidelityReport, bar: float) -> None:
    """What a level must reach, and the range of those that are worth serving."""
    serving = next((found for found in report.levels if found.level == report.serving_level), None)
    note = "no level is worth serving"
    if serving is not None:
        axes.axvspan(serving.size_bytes / _MIB, axes.get_xlim()[1], color=_WORTH, zorder=0)
        note = f"worth serving from {serving.level} bits"
    what = "cosine" if report.fp32_top1 is None else "top-1"
    label = f"{note}: {what} at least {bar:.3g}"
    axes.axhline(bar, color=FAINT, linewidth=1, linestyle=(0, (4, 3)), zorder=1, label=label)


def _samples(report: FidelityReport) -> str:
    return f"measured on {report.samples} {report.sample_kind} samples"
