"""The report as people read it."""

from __future__ import annotations

from collections.abc import Sequence

from rich.table import Table

from benchmarks.delivery.row import Row

_NOTHING = "·"


def tables(rows: Sequence[Row]) -> list[Table]:
    """One table per scenario that has rows."""
    made = {"stream": _stream, "limited_link": _limited, "cuts": _cuts}
    return [
        make([row for row in rows if row.scenario == scenario])
        for scenario, make in made.items()
        if any(row.scenario == scenario for row in rows)
    ]


def _stream(rows: Sequence[Row]) -> Table:
    headings = (
        "devices", "MB/s", "bare gRPC", "of bare", "nginx", "server s/GB", "bare", "nginx", "client s/GB",
        "bare", "slowest/median",
    )  # fmt: skip
    return _table(
        "Many blobs on one stream, over the loopback",
        headings,
        [
            (
                str(row.devices),
                _number(row.mb_per_s),
                _number(row.bare_grpc_mb_per_s),
                _share(row.mb_per_s, row.bare_grpc_mb_per_s),
                _number(row.nginx_mb_per_s),
                _number(row.server_cpu_seconds_per_gb, 2),
                _number(row.bare_grpc_server_cpu_seconds_per_gb, 2),
                _number(row.nginx_server_cpu_seconds_per_gb, 2),
                _number(row.client_cpu_seconds_per_gb, 2),
                _number(row.bare_grpc_client_cpu_seconds_per_gb, 2),
                _number(row.slowest_over_median, 2),
            )
            for row in rows
        ],
    )


def _limited(rows: Sequence[Row]) -> Table:
    return _table(
        "First inference over a slow link",
        ("Mbit/s", "base MB", "ideal s", "first inference s", "beyond 1.05 x ideal s"),
        [
            (
                _number(row.link_mbit_per_s),
                _number((row.base_bytes or 0) / 1e6, 2),
                _number(row.ideal_seconds, 2),
                _number(row.first_inference_seconds, 2),
                _number((row.first_inference_seconds or 0) - 1.05 * (row.ideal_seconds or 0), 2),
            )
            for row in rows
        ],
    )


def _cuts(rows: Sequence[Row]) -> Table:
    return _table(
        "A link that is cut",
        ("cuts", "MB needed", "MB sent", "sent/needed", "fetched twice", "seconds"),
        [
            (
                str(row.cuts),
                _number((row.bytes_needed or 0) / 1e6, 3),
                _number((row.bytes_sent or 0) / 1e6, 3),
                _share(row.bytes_sent, row.bytes_needed, digits=4),
                str(row.fetched_twice_bytes),
                _number(row.seconds, 1),
            )
            for row in rows
        ],
    )


def _table(title: str, headings: Sequence[str], rows: Sequence[Sequence[str]]) -> Table:
    made = Table(title=title, title_justify="left", title_style="bold")
    for heading in headings:
        made.add_column(heading, justify="right")
    for row in rows:
        made.add_row(*row)
    return made


def _number(value: float | None, digits: int = 0) -> str:
    return _NOTHING if value is None else f"{value:.{digits}f}"


def _share(part: float | None, whole: float | None, digits: int = 2) -> str:
    return _NOTHING if part is None or not whole else f"{part / whole:.{digits}f}"
