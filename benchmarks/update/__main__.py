"""``python -m benchmarks.update --json FILE``: what an update moves, beside its entropy and rivals."""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Final

from rich.console import Console

from benchmarks.update.fidelity import Fidelity, fidelity_table
from benchmarks.update.row import Row
from benchmarks.update.run import MODELS, QUICK, measure
from benchmarks.update.table import table
from common.files import write_atomically
from server.quantize.rounding import MODES

_WIDTH: Final = 150  # where there is no terminal that has one
_MOST_OVER_ENTROPY: Final = 1.15


def main() -> int:
    """The exit status: 0 when every delta is near its entropy and below what zstd makes of the versions."""
    options = _parser().parse_args()
    console = Console(stderr=True, log_path=False)
    start = time.perf_counter()
    rows: list[Row] = []
    found: list[Fidelity] = []
    options.json.parent.mkdir(parents=True, exist_ok=True)
    models = QUICK if options.quick else {name: MODELS[name] for name in options.models}
    for item in measure(models, options.rounding, console.log, with_fidelity=options.fidelity):
        rows.append(item.row)
        found += item.fidelity
        _write(options.json, rows)
    out = Console() if sys.stdout.isatty() else Console(width=_WIDTH)
    out.print(table(rows))
    if found:
        out.print(fidelity_table(found))
    out.print(f"{len(rows)} rows in {time.perf_counter() - start:.0f} s: {options.json}")
    return _judge(rows, out)


def _judge(rows: Sequence[Row], out: Console) -> int:
    dear = [row for row in rows if row.delta_bytes > _MOST_OVER_ENTROPY * row.entropy_bytes + row.float_bytes]
    beaten = [row for row in rows if row.delta_bytes >= row.patch_from_bytes]
    for row in dear:
        out.print(f"{row.pair}: the delta is more than {_MOST_OVER_ENTROPY} of its entropy")
    for row in beaten:
        out.print(f"{row.pair}: zstd --patch-from is smaller")
    return 1 if dear or beaten else 0


def _write(file: Path, rows: Sequence[Row]) -> None:
    write_atomically(file, (json.dumps([asdict(row) for row in rows], indent=1) + "\n").encode())


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.update", description=__doc__)
    parser.add_argument("--json", type=Path, required=True, metavar="FILE", help="where the rows go")
    parser.add_argument("--models", type=_names(tuple(MODELS)), default=tuple(MODELS), metavar="A,B")
    parser.add_argument("--rounding", choices=sorted(MODES), default="floor", help="mode of all versions")
    parser.add_argument("--fidelity", action="store_true", help="also compare kept scales with fresh ones")
    parser.add_argument("--quick", action="store_true", help="one small pair, untrained")
    return parser


def _names(known: Sequence[str]) -> Callable[[str], tuple[str, ...]]:
    def parse(text: str) -> tuple[str, ...]:
        names = tuple(text.split(","))
        unknown = [name for name in names if name not in known]
        if unknown:
            raise argparse.ArgumentTypeError(f"{unknown[0]!r} is none of {', '.join(known)}")
        return names

    return parse


if __name__ == "__main__":
    sys.exit(main())
