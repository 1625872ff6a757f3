"""Cutting a tensor that is too large for one block into runs of rows."""

from __future__ import annotations

from collections.abc import Callable, Iterator


def even_runs(rows: int, limit_bytes: int, size_bytes: Callable[[int], int]) -> Iterator[tuple[int, int]]:
    """Row ranges of nearly equal length, as few as stay within the limit.

    Args:
        rows: How many rows there are, at least 1.
        limit_bytes: What ``size_bytes`` of a run may come to; only a single row may exceed it.
        size_bytes: The size of a run of so many rows; grows with them.

    Yields:
        ``(start, stop)`` pairs that cover ``0..rows`` in order.
    """
    pieces = max(1, -(-size_bytes(rows) // limit_bytes))
    length = -(-rows // pieces)
    while length > 1 and size_bytes(length) > limit_bytes:
        pieces += 1
        length = min(length - 1, -(-rows // pieces))
    yield from ((start, min(start + length, rows)) for start in range(0, rows, length))
