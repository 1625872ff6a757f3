"""A replay as a picture: level, memory, battery and bytes over the hours."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from common.errors import ConfigError
from device_agent.replay.simulation import Moment

_INK: Final = "#22303c"
_FAINT: Final = "#6b7785"
_GRID: Final = "#e6e9ed"
_SHADE: Final = "#b9c2cc"
_BLUE: Final = "#2f6fb3"
_ORANGE: Final = "#d9822b"
_MIB: Final = 1024 * 1024
_HOUR_SECONDS: Final = 3600.0


def draw(moments: Sequence[Moment], path: Path, title: str) -> None:
    """Four panels, one under the other, are in the file, as a PNG or what the suffix says.

    Raises:
        ConfigError: matplotlib is not there, or the file cannot be written.
    """
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg  # noqa: PLC0415 - a board lacks it
        from matplotlib.figure import Figure  # noqa: PLC0415 - as above
    except ImportError as error:
        raise ConfigError(
            "Drawing needs matplotlib, which is not installed.",
            advice="pip install 'nestfleet[plot]', or leave --plot out.",
        ) from error
    figure = Figure(figsize=(10, 9), dpi=150, layout="constrained")
    FigureCanvasAgg(figure)
    level, memory, battery, moved = figure.subplots(4, 1, sharex=True)
    hours = [moment.at_seconds / _HOUR_SECONDS for moment in moments]
    _level(level, hours, moments)
    _memory(memory, hours, moments)
    _battery(battery, hours, moments)
    _moved(moved, hours, moments)
    level.set_title(title, loc="left", color=_INK, fontweight="bold", pad=12)
    moved.set_xlabel("hours", color=_FAINT)
    moved.margins(x=0)
    try:
        path.absolute().parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(path)
    except (ValueError, OSError) as error:
        raise ConfigError(f"The picture cannot be written to {path}: {error}.") from error


def _level(axes: Any, hours: Sequence[float], moments: Sequence[Moment]) -> None:
    axes.step(hours, [item.level for item in moments], where="post", color=_BLUE, label="lowest block")
    axes.plot(
        hours, [item.mean_bits for item in moments], color=_ORANGE, linewidth=1, label="mean of weights"
    )
    _finish(axes, "bits", low=min(item.mean_bits for item in moments) - 1)


def _memory(axes: Any, hours: Sequence[float], moments: Sequence[Moment]) -> None:
    weights = [item.weights_bytes / _MIB for item in moments]
    top = 2 * max(weights, default=1)
    axes.plot(
        hours, [item.budget_bytes / _MIB for item in moments], color=_SHADE, linewidth=1, label="allowed now"
    )
    axes.step(hours, [item.held_bytes / _MIB for item in moments], where="post", color=_ORANGE, label="held")
    axes.step(hours, weights, where="post", color=_BLUE, label="weights")
    _finish(axes, "MiB of memory", low=0, high=top)


def _battery(axes: Any, hours: Sequence[float], moments: Sequence[Moment]) -> None:
    charges = [item.readings.battery_fraction for item in moments]
    if all(charge is None for charge in charges):
        axes.text(0.5, 0.5, "no battery", transform=axes.transAxes, ha="center", color=_FAINT)
    known = [float("nan") if charge is None else charge * 100 for charge in charges]
    axes.plot(hours, known, color=_BLUE, linewidth=1, label="battery")
    held = [item.base_only for item in moments]
    axes.fill_between(hours, 0, 100, where=held, step="post", color=_GRID, label="held at the base")
    _finish(axes, "% charge", low=0, high=100)


def _moved(axes: Any, hours: Sequence[float], moments: Sequence[Moment]) -> None:
    axes.plot(hours, [item.paged_bytes / _MIB for item in moments], color=_ORANGE, label="paged in")
    axes.plot(hours, [item.fetched_bytes / _MIB for item in moments], color=_BLUE, label="fetched")
    _finish(axes, "MiB since the start", low=0)


def _finish(axes: Any, unit: str, *, low: float, high: float | None = None) -> None:
    """Faint numbers, no frame, and a legend above."""
    axes.set_ylabel(unit, color=_FAINT)
    axes.set_ylim(bottom=low, top=high)
    axes.tick_params(colors=_FAINT, length=0)
    axes.grid(axis="y", color=_GRID, linewidth=0.6)
    axes.set_axisbelow(True)
    for side in ("top", "right", "left", "bottom"):
        axes.spines[side].set_visible(False)
    axes.legend(
        loc="lower right", bbox_to_anchor=(1, 1.0), ncols=3, frameon=False, labelcolor=_INK, fontsize="small"
    )
