"""The report as people read it."""

from __future__ import annotations

from collections.abc import Sequence

from rich.table import Table

from benchmarks.quantize.row import Row

_MIB = 1024 * 1024
_NOTHING = "·"


def table(model: str, rows: Sequence[Row]) -> Table:
    """One model's rows: level by level, so that modes of one level stand below each other."""
    result = Table(title=model, title_justify="left", title_style="bold")
    result.add_column("mode")
    for heading in (
        "level",
        "cosine",
        "overlap@10",
        "top-1",
        "bits/weight",
        "entropy",
        "seconds",
        "M weights/s",
        "peak MiB",
    ):
        result.add_column(heading, justify="right")
    levels = sorted({row.level for row in rows}, reverse=True)
    for level in levels:
        for row in rows:
            if row.level == level:
                result.add_row(*_cells(row))
        result.add_section()
    return result


def _cells(row: Row) -> tuple[str, ...]:
    return (
        row.mode,
        str(row.level),
        _share(row.cosine, digits=5),
        _share(row.overlap_at_10),
        _share(row.top1),
        f"{row.bits_per_weight:.3f}",
        f"{row.entropy_bits_per_weight:.3f}",
        f"{row.seconds:.2f}",
        f"{row.mparams_per_second:.1f}",
        f"{row.peak_rss_bytes / _MIB:.0f}",
    )


def _share(value: float | None, digits: int = 4) -> str:
    return _NOTHING if value is None else f"{value:.{digits}f}"
