"""Where output goes: results to stdout, everything else to stderr."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable
from typing import Any, Final

from rich import box
from rich.console import Console, JustifyMethod
from rich.table import Table
from rich.text import Text

from common.errors import Error

# A pipe or file has no width: rows stay whole there, for grep and awk.
_UNBOUNDED_COLUMNS: Final = 1000


def results() -> Console:
    """The console for what the command was asked for."""
    return Console(width=None if sys.stdout.isatty() else _UNBOUNDED_COLUMNS, highlight=False, markup=False)


def notices() -> Console:
    """The console for errors and progress."""
    return Console(stderr=True, highlight=False, markup=False)


def print_json(tree: Any) -> None:
    """The one thing on stdout where --json is given."""
    sys.stdout.write(json.dumps(tree, indent=2) + "\n")
    sys.stdout.flush()


def print_line(text: str) -> None:
    """A sentence on stdout."""
    results().print(text, soft_wrap=True)


def print_error(error: Error) -> None:
    """An expected error: what happened, and below it what to do."""
    console = notices()
    console.print(Text.assemble(("error: ", "bold red"), printable(error.message)), soft_wrap=True)
    if error.advice:
        console.print(f"  {printable(error.advice)}", soft_wrap=True)


def table(*columns: str) -> Table:
    """An empty table; the first column is never cut, and ">" before a name aligns right, for numbers."""
    grid = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False, collapse_padding=True)
    for index, name in enumerate(columns):
        justify: JustifyMethod = "right" if name.startswith(">") else "left"
        grid.add_column(name.removeprefix(">"), justify=justify, no_wrap=index == 0)
    return grid


def print_table(grid: Table) -> None:
    """A finished table on stdout."""
    results().print(grid)


def printable(text: str) -> str:
    """A text that others wrote, without what could steer the terminal."""
    return "".join(sign if sign.isprintable() else "\N{REPLACEMENT CHARACTER}" for sign in text)


def print_lines(lines: Iterable[str]) -> None:
    """Several lines on stdout."""
    for line in lines:
        print_line(line)
