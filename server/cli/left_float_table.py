"""What of a model stays float at every level, as a table and as JSON."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from common.byte_sizes import format_bytes
from common.graph.left_float import LeftFloat
from server.cli.output import print_line, print_table, printable, table
from server.cli.wording import count

_LARGEST: Final = 8


def left_float_json(states: Sequence[LeftFloat]) -> list[dict[str, Any]]:
    """Every state with its size and the reason."""
    return [{"name": state.name, "size_bytes": state.size_bytes, "reason": state.reason} for state in states]


def print_left_float(states: Sequence[LeftFloat], *, every: bool) -> None:
    """The largest states that stay float and why, or with ``every`` all of them.

    Args:
        states: Largest first.
        every: Whether to print all.
    """
    if not states:
        return
    shown = states if every else states[:_LARGEST]
    size_bytes = sum(state.size_bytes for state in states)
    print_line(f"\nleft in float: {count(len(states), 'tensor')}, {format_bytes(size_bytes)} at every level")
    grid = table("TENSOR", ">SIZE", "WHY")
    for state in shown:
        grid.add_row(printable(state.name), format_bytes(state.size_bytes), printable(state.reason))
    print_table(grid)
    if len(shown) < len(states):
        print_line(f"{len(shown)} of {count(len(states), 'tensor')}; all with --blocks")
