"""What all pictures share: colours, bare axes, and the way to a file."""

from __future__ import annotations

import errno
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from common.errors import CapacityError, ConfigError

INK: Final = "#22303c"
FAINT: Final = "#6b7785"
GRID: Final = "#e6e9ed"


def new_figure(width_inches: float, height_inches: float) -> Figure:
    """An empty figure that can be written to a file."""
    figure = Figure(figsize=(width_inches, height_inches), dpi=150, layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def bare(axes: Axes, *, title: str) -> None:
    """No frame, faint numbers, and a title at the left."""
    axes.tick_params(colors=FAINT, length=0)
    axes.set_axisbelow(True)
    for side in ("top", "right", "left", "bottom"):
        axes.spines[side].set_visible(False)
    axes.set_title(title, loc="left", color=INK, fontweight="bold", pad=12)


def legend_below(axes: Axes, entries: Sequence[Artist]) -> None:
    """What marks mean, under the axes, where nothing can lie behind it."""
    axes.legend(
        handles=list(entries), loc="upper left", bbox_to_anchor=(0, -0.17), frameon=False, labelcolor=INK,
        fontsize="small", handlelength=1.6, borderaxespad=0.0, borderpad=0.0,
    )  # fmt: skip


def legend_above(axes: Axes) -> None:
    """What colours mean, in one row at the right of the title; another legend may follow."""
    entries = axes.get_legend_handles_labels()[0]
    legend = axes.legend(
        handles=entries, loc="lower right", bbox_to_anchor=(1, 1.01), ncols=len(entries), frameon=False,
        labelcolor=INK, fontsize="small", handlelength=1.0, handleheight=1.0, columnspacing=1.0,
        borderpad=0.0,
    )  # fmt: skip
    axes.add_artist(legend)


def write(figure: Figure, path: Path) -> None:
    """The figure is in the file, as a PNG or what the suffix says.

    Raises:
        ConfigError: The file cannot be written there, or its suffix is no picture's.
        CapacityError: The disk is full.
    """
    try:
        path.absolute().parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(path)
    except (ValueError, OSError) as error:
        if isinstance(error, OSError) and error.errno == errno.ENOSPC:
            raise CapacityError(f"The disk has no room for {path}.") from error
        raise ConfigError(f"The picture cannot be written to {path}: {error}.") from error
