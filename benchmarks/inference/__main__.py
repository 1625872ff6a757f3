"""``python -m benchmarks.inference --json FILE``: latency, memory and accuracy, beside other runtimes."""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Final, TypeVar

from rich.console import Console

from benchmarks.inference.accuracy import run as accuracy
from benchmarks.inference.accuracy import tasks
from benchmarks.inference.accuracy.score import Score, score_misses, score_table
from benchmarks.inference.bars import misses
from benchmarks.inference.nets import registry
from benchmarks.inference.plan import FULL, QUICK
from benchmarks.inference.row import Row
from benchmarks.inference.run import measure
from benchmarks.inference.table import tables
from common.files import write_atomically

_WIDTH: Final = 132  # where there is no terminal that has one
_MODELS: Final = tuple(dict.fromkeys((*registry.NETS, *tasks.TASKS)))
_QUIET_CORES: Final = 0.1  # what others may take before it shows
_Made = TypeVar("_Made")


def main() -> int:
    """The exit status: 0 when every row and score shows what it has to."""
    options = _parser().parse_args()
    say = Console(stderr=True, log_path=False, highlight=False).log
    begun = time.perf_counter()
    files = [file for file in (options.json, options.accuracy_json) if file]
    for file in files:
        file.parent.mkdir(parents=True, exist_ok=True)
        _write(file, [])
    scores: list[Score] = []
    for score in accuracy.measure(_chosen(tasks.TASKS, tasks.QUICK, options), say):
        scores.append(score)
        if options.accuracy_json:
            _write(options.accuracy_json, scores)
    rows: list[Row] = []
    other_cores = 0.0
    nets = _chosen(registry.NETS, registry.QUICK, options)
    for measured in measure(nets, QUICK if options.quick else FULL, say):
        rows += measured.rows
        other_cores = max(other_cores, measured.other_cores)
        _write(options.json, rows)
    out = Console(highlight=False) if sys.stdout.isatty() else Console(width=_WIDTH, highlight=False)
    _report(rows, scores, out)
    out.print(f"{len(rows)} rows in {time.perf_counter() - begun:.0f} s: {', '.join(map(str, files))}")
    if other_cores > _QUIET_CORES:
        out.print(f"other work kept up to {other_cores:.1f} cores busy: no latencies of a quiet machine")
    return _judge([*misses(rows), *score_misses(scores)], out)


def _report(rows: Sequence[Row], scores: Sequence[Score], out: Console) -> None:
    for table in tables(rows):
        out.print(table)
    if scores:
        out.print(score_table(scores))


def _judge(missed: Sequence[str], out: Console) -> int:
    for line in missed:
        out.print(line)
    return 1 if missed else 0


def _chosen(
    known: Mapping[str, Callable[[], _Made]],
    quick: Mapping[str, Callable[[], _Made]],
    options: argparse.Namespace,
) -> Mapping[str, Callable[[], _Made]]:
    """Those that were asked for; without a word all, or the small one of a quick run."""
    if options.models:
        return {name: make for name, make in known.items() if name in options.models}
    return quick if options.quick else known


def _write(file: Path, items: Sequence[Row] | Sequence[Score]) -> None:
    write_atomically(file, (json.dumps([asdict(item) for item in items], indent=1) + "\n").encode())


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.inference", description=__doc__)
    parser.add_argument("--json", type=Path, required=True, metavar="FILE", help="where the rows go")
    parser.add_argument("--accuracy-json", type=Path, metavar="FILE", help="where the scores go, if anywhere")
    parser.add_argument(
        "--models",
        type=_names,
        metavar="A,B",
        help=f"of {', '.join(_MODELS)}; the last two for accuracy alone",
    )
    parser.add_argument("--quick", action="store_true", help="few turns; one small net, if none is named")
    return parser


def _names(text: str) -> tuple[str, ...]:
    names = tuple(text.split(","))
    unknown = [name for name in names if name not in _MODELS]
    if unknown:
        raise argparse.ArgumentTypeError(f"{unknown[0]!r} is none of {', '.join(_MODELS)}")
    return names


if __name__ == "__main__":
    sys.exit(main())
