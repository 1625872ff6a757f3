"""``python -m benchmarks.wire --json FILE``: what a weight costs on the wire."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from rich.console import Console
from rich.table import Table

from benchmarks.quantize.tasks.registry import TASKS
from benchmarks.wire.row import Row
from benchmarks.wire.run import measure
from common.files import write_atomically

MODELS = ("minilm", "resnet18-digits", "resnet50")
LEVELS = (4, 6, 8)
_HEADINGS = (
    "mode", "base", "/entropy", "shards", "total", "/INT8", "/entropy", "paper", "manifest", "coder MB/s",
)  # fmt: skip
_WIDTH = 132  # where there is no terminal that has one


def main() -> int:
    """The exit status."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.wire", description=__doc__)
    parser.add_argument("--json", type=Path, required=True, metavar="FILE", help="where the rows go")
    parser.add_argument("--models", default=",".join(MODELS), metavar="A,B")
    parser.add_argument("--levels", default=",".join(map(str, LEVELS)), metavar="4,6,8")
    parser.add_argument("--rounding", default="floor", metavar="A,B")
    options = parser.parse_args()
    console = Console(stderr=True, log_path=False)
    levels = tuple(int(level) for level in options.levels.split(","))
    rows: list[Row] = []
    options.json.parent.mkdir(parents=True, exist_ok=True)
    with console.status("") as status:
        for name in options.models.split(","):
            if name not in TASKS:
                parser.error(f"{name!r} is none of {', '.join(TASKS)}")
            task = TASKS[name]()
            for rounding in options.rounding.split(","):
                rows.append(measure(task, levels, rounding, status.update))
                write_atomically(
                    options.json, (json.dumps([asdict(row) for row in rows], indent=1) + "\n").encode()
                )
    out = Console() if sys.stdout.isatty() else Console(width=_WIDTH)
    out.print(_table(rows))
    return 0


def _table(rows: Sequence[Row]) -> Table:
    table = Table(title="bits per weight", title_justify="left", title_style="bold")
    table.add_column("model")
    for heading in _HEADINGS:
        table.add_column(heading, justify="right")
    for row in rows:
        table.add_row(
            row.model,
            row.rounding,
            f"{row.base_bits_per_weight:.3f}",
            f"{row.base_bits_per_weight / row.base_entropy_bits_per_weight:.4f}",
            " ".join(f"{bits:.3f}" for bits in row.shard_bits_per_weight),
            f"{row.total_bits_per_weight:.3f}",
            f"{row.total_bits_per_weight / row.int8_bits_per_weight:.4f}",
            f"{row.total_bits_per_weight / row.int8_entropy_bits_per_weight:.4f}",
            f"{row.paper_packed_bits_per_weight:.2f}",
            f"{row.manifest_bytes / 1024:.1f} KiB",
            f"{row.encode_mb_per_s:.0f} / {row.decode_mb_per_s:.0f}",
        )
    return table


if __name__ == "__main__":
    sys.exit(main())
