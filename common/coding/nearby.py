"""Values that lie near others that both ends know: those of an earlier version of the same weights.

A value is told by its rank: 0 for the one that changes the code by least, 1 and 2 for a code more and less,
and so on. Ranks are written in unary, plane by plane: whether it is above 0; of those that are, whether above
1; so each plane is bits of known odds (``common.coding.bits``). The odds depend on how near the earlier code
is to where the level below would change, on what happened there, and on how busy the row is, so these make
the contexts: where a code at 4 bits rose by one, little is left to tell of the step from there to 6.

Layout: u8 flags; with rows, their classes as packed values (form, u32 length, bytes); the planes; then the
ranks beyond the last plane, less it, as packed values.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

import numpy as np
from numpy.typing import NDArray

from common.coding.bits import decode_bits, encode_bits
from common.coding.values import decode_values, encode_values
from common.errors import IntegrityError

_PLANES: Final = 12
_MOST_BELOW: Final = 2  # a code below that moved by more is as one that moved by this
_FARTHEST_STILL: Final = 8  # distances to the border that are told apart, where the code below stayed
_FARTHEST_MOVED: Final = 16
_BEYOND: Final = _FARTHEST_STILL + _FARTHEST_MOVED
_ODDS: Final = _BEYOND + 1
# Share of changed values in a row, up to which it belongs to class 1, 2, ...; class 0 has none.
_BUSY: Final = (0.02, 0.08, 0.2, 0.4)
_CLASSES: Final = len(_BUSY) + 2
_CLASS_BITS: Final = 3
_FEWEST_FOR_CONTEXTS: Final = 4096
_WITH_CONTEXTS: Final = 1
_HEAD: Final = struct.Struct("<BI")


@dataclass(frozen=True, slots=True, eq=False)
class Known:
    """What both ends know about some values.

    Attributes:
        earlier: uint8 [count], values in [0, 2**bits - 1]. Those of the earlier version.
        below: int16 [count]. By how much the codes one level below rose; zeros in a base.
        bits: Width of a value.
        step_bits: Width that a code gains by them: of a base its whole width.
        rows: How many rows they come in; divides their count.
    """

    earlier: NDArray[np.uint8]
    below: NDArray[np.int16]
    bits: int
    step_bits: int
    rows: int


def encode_nearby(values: NDArray[np.uint8], known: Known) -> bytes:
    """Some values given what is known of them.

    Args:
        values: uint8 [count], values in [0, 2**bits - 1].
        known: What the other end knows, too.
    """
    tables = _tables(known.bits, known.step_bits)
    situation = _situations(known)
    ranks = tables.ranks[situation, values]
    with_contexts = values.size >= _FEWEST_FOR_CONTEXTS
    chunks = [bytes([_WITH_CONTEXTS if with_contexts else 0])]
    contexts, count = np.zeros(values.size, np.uint8), 1
    if with_contexts:
        classes = _classes(ranks, known.rows)
        chunks.append(_packed(classes, _CLASS_BITS))
        contexts, count = _contexts(tables, situation, classes), _ODDS * _CLASSES
    for plane in range(_PLANES):
        above = ranks > plane
        chunks.append(encode_bits(above.view(np.uint8), contexts, count))
        ranks, contexts = ranks[above], _fewer(contexts[above])
    chunks.append(_packed(ranks - np.uint8(_PLANES), known.bits))
    return b"".join(chunks)


def decode_nearby(data: bytes | memoryview, known: Known) -> NDArray[np.uint8]:
    """The values: uint8 [count].

    Raises:
        IntegrityError: The data are none for what is known.
    """
    tables = _tables(known.bits, known.step_bits)
    situation = _situations(known)
    size = known.earlier.size
    view = memoryview(data)
    if not view:
        raise IntegrityError("A difference is empty.")
    flags, at = view[0], 1
    contexts, count = np.zeros(size, np.uint8), 1
    if flags & _WITH_CONTEXTS:
        classes, at = _unpacked(view, at, known.rows, _CLASS_BITS)
        if classes.size and int(classes.max()) >= _CLASSES:
            raise IntegrityError("A row of a difference has no class.")
        contexts, count = _contexts(tables, situation, classes), _ODDS * _CLASSES
    ranks = np.zeros(size, np.uint8)
    where = np.arange(size)
    for _ in range(_PLANES):
        above, used = decode_bits(view[at:], contexts, count)
        at += used
        more = above.view(np.bool_)
        where, contexts = where[more], _fewer(contexts[more])
        ranks[where] += 1
    rest, at = _unpacked(view, at, where.size, known.bits)
    if at != len(view) or (rest.size and int(rest.max()) + _PLANES >= 1 << known.bits):
        raise IntegrityError("A difference is longer than its values, or leads beyond them.")
    ranks[where] += rest
    if ranks.size and int(ranks.max()) >> known.bits:
        raise IntegrityError("A difference leads beyond the width of its values.")
    values: NDArray[np.uint8] = tables.values[situation, ranks]
    return values


@dataclass(frozen=True, slots=True, eq=False)
class _Tables:
    """By situation (below, earlier value): values to ranks, ranks to values, and the context of the odds."""

    ranks: NDArray[np.uint8]
    values: NDArray[np.uint8]
    odds: NDArray[np.uint8]


@lru_cache(maxsize=64)
def _tables(bits: int, step_bits: int) -> _Tables:
    count = 1 << bits
    ranks = np.empty(((2 * _MOST_BELOW + 1) * count, count), np.uint8)
    values = np.empty_like(ranks)
    odds = np.empty(len(ranks), np.uint8)
    candidates = np.arange(count)
    for below in range(-_MOST_BELOW, _MOST_BELOW + 1):
        for earlier in range(count):
            at = (below + _MOST_BELOW) * count + earlier
            change = candidates - earlier + below * (1 << step_bits)
            order = np.lexsort((-change, np.abs(change)))
            values[at] = order
            ranks[at, order] = candidates
            odds[at] = _odds(below, earlier, count)
    return _Tables(ranks, values, odds)


def _odds(below: int, earlier: int, count: int) -> int:
    """Which situations have like odds."""
    last = count - 1
    if below == 0:
        return min(earlier, last - earlier, _FARTHEST_STILL - 1)
    if abs(below) == 1:
        return _FARTHEST_STILL + min(last - earlier if below > 0 else earlier, _FARTHEST_MOVED - 1)
    return _BEYOND


def _situations(known: Known) -> NDArray[np.intp]:
    below: NDArray[np.intp] = np.clip(known.below, -_MOST_BELOW, _MOST_BELOW).astype(np.intp)
    below += _MOST_BELOW
    below <<= known.bits
    below += known.earlier
    return below


def _classes(ranks: NDArray[np.uint8], rows: int) -> NDArray[np.uint8]:
    changed = np.count_nonzero(ranks.reshape(rows, -1), axis=1)
    share = changed / (ranks.size // rows)
    classes: NDArray[np.uint8] = np.searchsorted(_BUSY, share).astype(np.uint8) + np.uint8(1)
    classes[changed == 0] = 0
    return classes


def _contexts(tables: _Tables, situation: NDArray[np.intp], classes: NDArray[np.uint8]) -> NDArray[np.uint8]:
    per_row = situation.size // max(classes.size, 1)
    contexts = np.repeat(classes * np.uint8(_ODDS), per_row)
    contexts += tables.odds[situation]
    return np.asarray(contexts, np.uint8)


def _fewer(contexts: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Those of the planes after the first, and none where a table of them would cost more than it saves."""
    if contexts.size < _FEWEST_FOR_CONTEXTS:
        return np.zeros_like(contexts)
    return contexts % np.uint8(_ODDS)


def _packed(values: NDArray[np.uint8], bits: int) -> bytes:
    form, data = encode_values(values, bits)
    return _HEAD.pack(form, len(data)) + data


def _unpacked(view: memoryview, at: int, count: int, bits: int) -> tuple[NDArray[np.uint8], int]:
    if at + _HEAD.size > len(view):
        raise IntegrityError("A difference is cut short.")
    form, size_bytes = _HEAD.unpack_from(view, at)
    at += _HEAD.size
    return decode_values(form, view[at : at + size_bytes], bits, count), at + size_bytes
