"""``python -m benchmarks.quantize --json FILE``: rounding modes beside dedicated models, same weights."""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from itertools import groupby
from pathlib import Path

from rich.console import Console

from benchmarks.quantize.run import LEVELS, MODES, Measured, measure
from benchmarks.quantize.table import table
from benchmarks.quantize.tasks.registry import TASKS
from common.files import write_atomically

_WIDTH = 132  # where there is no terminal that has one


def main() -> int:
    """The exit status: 0 when the full level of every nested model was what it must be."""
    options = _parser().parse_args()
    console = Console(stderr=True, log_path=False)
    start = time.perf_counter()
    measured: list[Measured] = []
    options.json.parent.mkdir(parents=True, exist_ok=True)
    with console.status("") as status:
        for item in measure(options.models, options.modes, options.levels, console.log):
            measured.append(item)
            status.update(f"{len(measured)} rows")
            _write(options.json, measured)
    out = Console() if sys.stdout.isatty() else Console(width=_WIDTH)
    for model, items in groupby(measured, key=lambda item: item.row.model):
        out.print(table(model, [item.row for item in items]))
    out.print(f"{len(measured)} rows in {time.perf_counter() - start:.0f} s: {options.json}")
    return _judge(measured, out)


def _judge(measured: Sequence[Measured], out: Console) -> int:
    nested = [item for item in measured if item.full_bit_exact is not None]
    wrong = [item.row for item in nested if not item.full_bit_exact]
    for row in wrong:
        out.print(f"{row.model}, {row.mode}, level {row.level}: the full level is not the plain model")
    out.print(f"full level as the plain model's, bit for bit: {len(nested) - len(wrong)} of {len(nested)}")
    return 1 if wrong else 0


def _write(file: Path, measured: Sequence[Measured]) -> None:
    rows = [asdict(item.row) for item in measured]
    write_atomically(file, (json.dumps(rows, indent=1) + "\n").encode())


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.quantize", description=__doc__)
    parser.add_argument("--json", type=Path, required=True, metavar="FILE", help="where the rows go")
    parser.add_argument("--models", type=_names(tuple(TASKS)), default=tuple(TASKS), metavar="A,B")
    parser.add_argument("--modes", type=_names(MODES), default=MODES, metavar="A,B")
    parser.add_argument("--levels", type=_levels, default=LEVELS, metavar="6,4", help="within 2..7")
    return parser


def _names(known: Sequence[str]) -> Callable[[str], tuple[str, ...]]:
    def parse(text: str) -> tuple[str, ...]:
        names = tuple(text.split(","))
        unknown = [name for name in names if name not in known]
        if unknown:
            raise argparse.ArgumentTypeError(f"{unknown[0]!r} is none of {', '.join(known)}")
        return names

    return parse


def _levels(text: str) -> tuple[int, ...]:
    try:
        levels = tuple(int(item) for item in text.split(","))
    except ValueError:
        levels = ()
    if not levels or not all(2 <= level < 8 for level in levels):
        raise argparse.ArgumentTypeError("levels are whole numbers within 2..7, e.g. 6,4")
    return levels


if __name__ == "__main__":
    sys.exit(main())
