"""The report as people read it."""

from __future__ import annotations

from collections.abc import Iterable

from rich.table import Table

from benchmarks.update.row import Row

_KIB: int = 1024


def table(rows: Iterable[Row]) -> Table:
    """All rows, sizes in KiB."""
    result = Table(title="an update, KiB", title_justify="left", title_style="bold")
    result.add_column("pair", no_wrap=True)
    for heading in (
        "delta",
        "entropy",
        "of that",
        "floats",
        "metadata",
        "patch-from",
        "changed blobs",
        "full",
        "base delta",
        "base entropy",
    ):
        result.add_column(heading, justify="right")
    for row in rows:
        result.add_row(
            row.pair,
            _kib(row.delta_bytes),
            _kib(row.entropy_bytes),
            f"{row.delta_bytes / max(1, row.entropy_bytes):.3f}",
            _kib(row.float_bytes),
            _kib(row.metadata_bytes),
            _kib(row.patch_from_bytes),
            _kib(row.changed_blobs_bytes),
            _kib(row.full_bytes),
            _kib(row.base_delta_bytes),
            _kib(row.base_entropy_bytes),
        )
    return result


def _kib(size_bytes: int) -> str:
    return f"{size_bytes / _KIB:.1f}"
