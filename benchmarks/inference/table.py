"""The report as people read it."""

from __future__ import annotations

from collections.abc import Sequence

from rich.table import Table

from benchmarks.inference.bars import beside
from benchmarks.inference.row import ORT_INT8, TORCH_FP32, Row

_HEADINGS = (
    "threads", "batch", "p50 ms", "p95 ms", "of ort_int8", "torch/this", "RSS MiB", "first s",
)  # fmt: skip
_NOTHING = "·"


def tables(rows: Sequence[Row]) -> list[Table]:
    """One per model; a section for each number of threads and batch."""
    models = list(dict.fromkeys(row.model for row in rows))
    return [_table(model, [row for row in rows if row.model == model]) for model in models]


def _table(model: str, rows: Sequence[Row]) -> Table:
    table = Table(title=model, title_justify="left", title_style="bold")
    table.add_column("runtime", no_wrap=True)
    for heading in _HEADINGS:
        table.add_column(heading, justify="right")
    before: tuple[int, int] | None = None
    for row in rows:
        if before not in (None, (row.threads, row.batch)):
            table.add_section()
        before = (row.threads, row.batch)
        int8, torch = beside(row, ORT_INT8, rows), beside(row, TORCH_FP32, rows)
        table.add_row(
            row.label,
            str(row.threads),
            str(row.batch),
            f"{row.p50_ms:.2f}",
            f"{row.p95_ms:.2f}",
            f"{row.p50_ms / int8.p50_ms:.2f}" if int8 else _NOTHING,
            f"{torch.p50_ms / row.p50_ms:.2f}" if torch else _NOTHING,
            f"{row.rss_mib:.0f}",
            f"{row.first_inference_seconds:.2f}",
        )
    return table
