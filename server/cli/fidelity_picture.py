"""The fidelity report as a picture: what each level is worth, and what each block's shards gain."""

from __future__ import annotations

from pathlib import Path

from common.fidelity import FidelityReport
from server.cli.fidelity_blocks_panel import draw_blocks
from server.cli.fidelity_levels_panel import draw_levels
from server.pictures import new_figure, write


def draw(report: FidelityReport, path: Path, *, title: str) -> None:
    """A PNG (or what the suffix says).

    Args:
        report: What to draw.
        path: Where to.
        title: The version's name.

    Raises:
        ConfigError: The file cannot be written there, or its suffix is no picture's.
        CapacityError: The disk is full.
    """
    figure = new_figure(13.2, 6.0)
    figure.set_layout_engine("constrained", w_pad=0.16, h_pad=0.14, wspace=0.04)
    left, right = figure.subplots(1, 2, width_ratios=(4, 6))
    draw_levels(left, report, title=f"{title}: what each level is worth")
    draw_blocks(right, report, title="What shards gain")
    write(figure, path)
