"""The rows for people."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rich.table import Table

from benchmarks.switch.row import Row

_CHANGES = ("change", "MB read", "separate", "ms", "separate", "ms/Mweight", "p99 ms", "quiet", "ratio",
            "beside", "of", "switches", "failed", "mixed")  # fmt: skip
_TRIPS = ("there and back", "MB read", "separate", "fewer", "separate, packed", "fewer")


def tables(rows: Sequence[Row]) -> Iterator[Table]:
    """Every change by itself; then each way up and down again, as the paper counts it."""
    changes = _table("changes of level", _CHANGES)
    for row in rows:
        changes.add_row(
            row.model,
            f"{row.from_level} to {row.to_level}",
            _mb(row.bytes_read),
            _mb(row.separate_bytes_read),
            f"{1e3 * row.seconds:.1f}",
            f"{1e3 * row.separate_seconds:.1f}",
            f"{row.ms_per_mweight:.3f}",
            f"{row.p99_ms_during:.1f}",
            f"{row.p99_ms_quiet:.1f}",
            f"{row.p99_ms_during / row.p99_ms_quiet:.2f}",
            f"{row.requests_during}",
            f"{row.requests}",
            f"{row.switches}",
            f"{row.failed_requests}",
            f"{row.mixed_requests}",
        )
    yield changes
    trips = _table("bytes from disk, up and down again", _TRIPS)
    by_change = {(row.model, row.from_level, row.to_level): row for row in rows}
    for (model, low, high), up in by_change.items():
        down = by_change.get((model, high, low))
        if low > high or down is None:
            continue
        read = up.bytes_read + down.bytes_read
        separate = up.separate_bytes_read + down.separate_bytes_read
        packed = up.separate_packed_bytes + down.separate_packed_bytes
        trips.add_row(
            model,
            f"{high}⊃{low}",
            _mb(read),
            _mb(separate),
            f"{1 - read / separate:.1%}",
            _mb(packed),
            f"{1 - read / packed:.1%}",
        )
    yield trips


def _table(title: str, headings: Sequence[str]) -> Table:
    table = Table(title=title, title_justify="left", title_style="bold")
    table.add_column("model")
    for heading in headings:
        table.add_column(heading, justify="right")
    return table


def _mb(size_bytes: int) -> str:
    return f"{size_bytes / 1e6:.2f}"
