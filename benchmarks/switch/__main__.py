"""``python -m benchmarks.switch --json FILE``: changes of level, alone and under load."""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import Final

from rich.console import Console

from benchmarks.quantize.tasks.registry import TASKS
from benchmarks.switch.row import Row
from benchmarks.switch.run import measure
from benchmarks.switch.scale import MODELS, Scale, quick
from benchmarks.switch.table import tables
from common.files import write_atomically
from device_agent.inference.threads import limit_threads

_WIDTH: Final = 150  # where there is no terminal that has one


def main() -> int:
    """The exit status."""
    options = _parser().parse_args()
    scale = quick(packed=options.packed) if options.quick else Scale(packed=options.packed)
    limit_threads(options.threads)
    options.json.parent.mkdir(parents=True, exist_ok=True)
    log = Console(stderr=True, log_path=False)
    log.log(f"{os.cpu_count()} cores, {options.threads} for a request, load average {os.getloadavg()[0]:.1f}")
    rows: list[Row] = []
    for name in options.models:
        with tempfile.TemporaryDirectory() as folder:
            for row in measure(TASKS[name](), Path(folder), scale, log.log):
                rows.append(row)
                data = json.dumps([asdict(one) for one in rows], indent=1) + "\n"
                write_atomically(options.json, data.encode())
    out = Console() if sys.stdout.isatty() else Console(width=_WIDTH)
    for table in tables(rows):
        out.print(table)
    out.print(f"requests came at {scale.load:.0%} of what one worker can answer on {options.threads} threads")
    log.log(f"load average at the end {os.getloadavg()[0]:.1f}")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.switch", description=__doc__)
    parser.add_argument("--json", type=Path, required=True, metavar="FILE", help="where the rows go")
    parser.add_argument("--models", type=_names, default=MODELS, metavar="A,B")
    parser.add_argument("--threads", type=int, default=1, help="that one request uses; 0 for all cores")
    parser.add_argument("--packed", action="store_true", help="weights execute from packed bits, not bytes")
    parser.add_argument("--quick", action="store_true", help="little of everything, to see that it works")
    return parser


def _names(text: str) -> tuple[str, ...]:
    names = tuple(text.split(","))
    unknown = [name for name in names if name not in TASKS]
    if unknown:
        raise argparse.ArgumentTypeError(f"{unknown[0]!r} is none of {', '.join(TASKS)}")
    return names


if __name__ == "__main__":
    sys.exit(main())
