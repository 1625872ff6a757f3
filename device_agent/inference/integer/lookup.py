"""Rows of a quantized table: only those that are asked for become floats."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from device_agent.residency.bit_planes import BYTE_BITS, PackedCodes, plane_widths
from device_agent.residency.codes import ByteCodes, Codes
from device_agent.residency.resident import ResidentPart


def look_up(parts: Sequence[ResidentPart], indices: torch.Tensor) -> torch.Tensor:
    """What ``torch.embedding`` gives for the whole table in float32, to the bit.

    Args:
        parts: All rows of the table, in order.
        indices: Whole numbers of any shape.

    Returns:
        float32 [*indices, columns].

    Raises:
        IndexError: An index is not in the table.
    """
    rows = indices.numpy().reshape(-1)
    count, columns = parts[-1].part.stop, parts[0].part.shape[1]
    if rows.size and (int(rows.min()) < 0 or int(rows.max()) >= count):
        raise IndexError(f"index out of range: the table has {count} rows")
    wanted, back = np.unique(rows, return_inverse=True)
    found = np.empty((wanted.size, columns), np.float32)
    for resident in parts:
        first, last = np.searchsorted(wanted, (resident.part.start, resident.part.stop))
        if first == last:
            continue
        own = wanted[first:last] - resident.part.start
        level = resident.codes.level
        codes = _rows(resident.codes, own, columns).astype(np.float32)
        affine = resident.affine(level)
        codes -= np.float32(1 << (level - 1))
        codes *= affine.scale[own, None]
        codes += affine.offset[own, None]
        found[first:last] = codes
    return torch.from_numpy(found[back.reshape(-1)]).view(*indices.shape, columns)


def _rows(codes: Codes, rows: NDArray[np.int64], columns: int) -> NDArray[np.uint8]:
    """Some rows of codes: uint8 [rows, columns]."""
    if isinstance(codes, ByteCodes):
        return codes.values.reshape(-1, columns)[rows]
    if not isinstance(codes, PackedCodes):
        return codes.unsigned().reshape(-1, columns)[rows]
    where = rows[:, None] * columns + np.arange(columns)
    found = np.zeros(where.shape, np.uint8)
    for plane, width in zip(codes.planes, plane_widths(codes.level), strict=True):
        # A plane is cut into runs: the value stands in the byte of its place within its run.
        runs, places = np.divmod(where, plane.size)
        values = plane[places] >> (runs * width).astype(np.uint8)
        values &= (1 << width) - 1 if width < BYTE_BITS else 255
        found <<= width if width < BYTE_BITS else 0
        found |= values
    return found
