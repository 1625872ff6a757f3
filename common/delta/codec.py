"""Deltas: blobs of a block's newer version, told by what changed since a version that the other end holds.

A delta covers a *span* of a block's blobs, from one up to another. Plain steps are each other's bits, so of
them one difference of whole codes tells all blobs of the span at once: a device that holds base and shards is
sent the codes' difference at its level, which costs the entropy of that difference, and one that holds the
base alone is sent that of the base. Shards with carries are told blob by blob.

Layout: a magic of four bytes, then for each section u8 form and u32 length, then the sections: the values of
each tensor part; for the base the scales and zero points of all rows; for each part-bit level of the span
slopes and shifts of all rows; the floats, blob by blob and name by name. Form 0 says: as they were.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from common.block_codec import Content
from common.coding.frames import compress, decompress
from common.coding.nearby import decode_nearby, encode_nearby
from common.coding.sections import join_sections, split_sections
from common.coding.values import decode_values, encode_values
from common.delta.row_changes import (
    CHANGED,
    SAME,
    Received,
    Section,
    decode_fits,
    decode_grids,
    encode_fits,
    encode_grids,
)
from common.delta.span import Span
from common.errors import IntegrityError

_MAGIC: Final = b"nfd1"
_NEAR: Final = 1
_ANEW: Final = 2  # and above it the form of values as in a blob


def encode_delta(held: Sequence[Content], wanted: Sequence[Content], span: Span) -> bytes | None:
    """A delta; None where the blobs' floats are not alike.

    Args:
        held: Contents of the held block's blobs, from the base to the span's last.
        wanted: Those of the wanted one.
        span: Which blobs.
    """
    sections = list(_value_sections(held, wanted, span))
    if span.has_base:
        sections += encode_grids(held[0].grids, wanted[0].grids)
    for index in span.indices:
        if span.fitted(index):
            sections += encode_fits(held[index].fits, wanted[index].fits)
    for index in span.indices:
        for name in sorted(wanted[index].floats):
            before, now = held[index].floats[name], wanted[index].floats[name]
            if (before.dtype, before.shape) != (now.dtype, now.shape):
                return None
            sections.append(_float_section(before, now))
    return join_sections(_MAGIC, sections)


def decode_delta(
    data: bytes | memoryview, held: Sequence[Content], known: Sequence[Content], span: Span
) -> tuple[Content, ...]:
    """Contents of the span's blobs.

    Args:
        data: The delta.
        held: Contents of the held block's blobs, from the base to the span's last.
        known: Those of the wanted block's blobs below the span.
        span: Which blobs.

    Raises:
        IntegrityError: It is no such delta.
    """
    names = {index: sorted(held[index].floats) for index in span.indices}
    about_rows = 2 * span.has_base + 2 * sum(map(span.fitted, span.indices))
    count = len(span.block.tensors) + about_rows + sum(map(len, names.values()))
    sections = iter(split_sections(_MAGIC, data, count))
    values = [
        span.apart(_values(next(sections), held, known, span, at)) for at in range(len(span.block.tensors))
    ]
    grids = decode_grids(sections, held[0].grids, span.shape(0)) if span.has_base else ()
    fits = [
        decode_fits(sections, held[index].fits, span.shape(index)) if span.fitted(index) else ()
        for index in span.indices
    ]
    return tuple(
        Content(
            tuple(part[at] for part in values),
            () if index else grids,
            fits[at],
            {name: _float(next(sections), held[index].floats[name]) for name in names[index]},
        )
        for at, index in enumerate(span.indices)
    )


def _value_sections(held: Sequence[Content], wanted: Sequence[Content], span: Span) -> Iterator[Section]:
    for at in range(len(span.block.tensors)):
        known, now = span.known(held, wanted, at), span.joint(wanted, at)
        if np.array_equal(now, known.earlier):
            yield SAME, b""
            continue
        near = encode_nearby(now, known)
        form, anew = encode_values(now, known.bits, span.carry_bits)
        yield (_NEAR, near) if len(near) < len(anew) else (_ANEW + form, anew)


def _values(
    section: Received, held: Sequence[Content], known: Sequence[Content], span: Span, at: int
) -> NDArray[np.uint8]:
    form, data = section
    told = span.known(held, known, at)
    if form == SAME:
        return told.earlier
    if form == _NEAR:
        return decode_nearby(data, told)
    return decode_values(form - _ANEW, data, told.bits, told.earlier.size, span.carry_bits)


def _float_section(before: NDArray[Any], now: NDArray[Any]) -> Section:
    """A float's bits xored with those that were, byte plane by byte plane: exponents hardly change."""
    old, new = (np.frombuffer(value.tobytes(), np.uint8) for value in (before, now))
    if np.array_equal(old, new):
        return SAME, b""
    planes = np.bitwise_xor(old, new).reshape(-1, now.dtype.itemsize).T.tobytes()
    framed = compress(planes)
    return (CHANGED + 1, framed) if len(framed) < len(planes) else (CHANGED, planes)


def _float(section: Received, before: NDArray[Any]) -> NDArray[Any]:
    form, data = section
    if form == SAME:
        return before
    old = np.frombuffer(before.tobytes(), np.uint8)
    raw = decompress(data, old.size) if form == CHANGED + 1 else bytes(data)
    if len(raw) != old.size:
        raise IntegrityError("A delta of floats has another length than they.")
    planes = np.frombuffer(raw, np.uint8).reshape(before.dtype.itemsize, -1)
    changed = np.bitwise_xor(old, planes.T.reshape(-1))
    value: NDArray[Any] = np.frombuffer(changed.tobytes(), before.dtype).reshape(before.shape)
    return value
