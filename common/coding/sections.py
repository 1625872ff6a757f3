"""Some sections of bytes in one string: a magic, then for each section u8 form and u32 length, then they."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from itertools import accumulate, pairwise
from typing import Final

from common.errors import IntegrityError

_ENTRY: Final = struct.Struct("<BI")


def join_sections(magic: bytes, sections: Sequence[tuple[int, bytes]]) -> bytes:
    """Forms and bytes of all sections as one."""
    entries = (_ENTRY.pack(form, len(data)) for form, data in sections)
    return b"".join((magic, *entries, *(data for _, data in sections)))


def split_sections(magic: bytes, data: bytes | memoryview, count: int) -> list[tuple[int, memoryview]]:
    """Forms and bytes of so many sections, which are all that there is.

    Raises:
        IntegrityError: The magic is another, or the lengths do not add up.
    """
    view = memoryview(data)
    start = len(magic) + count * _ENTRY.size
    if bytes(view[: len(magic)]) != magic or len(view) < start:
        raise IntegrityError("A blob is not of the kind that it should be.")
    entries = [_ENTRY.unpack_from(view, len(magic) + index * _ENTRY.size) for index in range(count)]
    bounds = list(accumulate((size for _, size in entries), initial=start))
    if bounds[-1] != len(view):
        raise IntegrityError("A blob is longer or shorter than its sections.")
    return [(form, view[low:high]) for (form, _), (low, high) in zip(entries, pairwise(bounds), strict=True)]
