"""``python -m benchmarks.delivery --json FILE``: throughput and fairness, slow links, links that are cut."""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import time
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Final

from rich.console import Console

from benchmarks.delivery import cuts, limited
from benchmarks.delivery.row import Row
from benchmarks.delivery.scale import FULL, QUICK, Scale
from benchmarks.delivery.stream import measure as stream
from benchmarks.delivery.table import tables
from common.files import write_atomically

SCENARIOS: Final = ("stream", "limited_link", "cuts")
_WIDTH: Final = 132  # where there is no terminal that has one


def main() -> int:
    """The exit status: 0."""
    options = _parser().parse_args()
    begun = time.perf_counter()
    options.json.parent.mkdir(parents=True, exist_ok=True)
    log = Console(stderr=True, log_path=False)
    rows = asyncio.run(_measure(options.scenarios, QUICK if options.quick else FULL, options.json, log.log))
    out = Console() if sys.stdout.isatty() else Console(width=_WIDTH)
    for table in tables(rows):
        out.print(table)
    out.print(f"{len(rows)} rows in {time.perf_counter() - begun:.0f} s: {options.json}")
    return 0


async def _measure(
    scenarios: Sequence[str], scale: Scale, file: Path, say: Callable[[str], None]
) -> list[Row]:
    rows: list[Row] = []
    async for row in _rows(scenarios, scale, say):
        rows.append(row)
        write_atomically(file, (json.dumps([asdict(one) for one in rows], indent=1) + "\n").encode())
    return rows


async def _rows(scenarios: Sequence[str], scale: Scale, say: Callable[[str], None]) -> AsyncIterator[Row]:
    if "stream" in scenarios:
        say(f"stream: {scale.devices} devices, {scale.runs} runs each way")
        async for row in stream.measure(scale):
            say(f"stream: {row.devices} devices done")
            yield row
    if "limited_link" in scenarios:
        for link_mbit_per_s in scale.links_mbit_per_s:
            say(f"limited_link: {link_mbit_per_s:g} Mbit/s")
            yield await limited.measure(link_mbit_per_s, scale.limited_width)
    if "cuts" in scenarios:
        say(f"cuts: {scale.cuts}")
        yield await cuts.measure(scale.cuts, scale.cuts_width, scale.cuts_mbit_per_s)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.delivery", description=__doc__)
    parser.add_argument("--json", type=Path, required=True, metavar="FILE", help="where the rows go")
    parser.add_argument("--quick", action="store_true", help="little of everything, to see that it works")
    parser.add_argument("--scenarios", type=_names, default=SCENARIOS, metavar="A,B")
    return parser


def _names(text: str) -> tuple[str, ...]:
    names = tuple(text.split(","))
    unknown = [name for name in names if name not in SCENARIOS]
    if unknown:
        raise argparse.ArgumentTypeError(f"{unknown[0]!r} is none of {', '.join(SCENARIOS)}")
    return names


if __name__ == "__main__":
    sys.exit(main())
