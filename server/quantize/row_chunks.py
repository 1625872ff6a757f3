"""Working on a few whole rows at a time, so that what is made of them on the way stays in the cache."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

_CHUNK_WEIGHTS: Final = 1 << 17  # fewer would have threads wait for the interpreter more than they work


def row_chunks(shape: tuple[int, ...]) -> Iterator[slice]:
    """Runs of rows that cover an array of the shape [rows, row_weights], in order."""
    step = max(1, _CHUNK_WEIGHTS // max(1, shape[1]))
    return (slice(start, start + step) for start in range(0, shape[0], step))
