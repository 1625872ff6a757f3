"""From packed codes to float weights, right before a layer needs them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray

from common.nesting import clamp_level
from device_agent.residency.bit_planes import BYTE_BITS, PackedCodes, plane_widths, run_shifts
from device_agent.residency.code_steps import carry_zero, steps_down
from device_agent.residency.codes import ByteCodes, Codes
from device_agent.residency.resident import ResidentPart

_SHIFTS: Final = {width: torch.from_numpy(run_shifts(width)) for width in (4, 2, 1)}


class Dequantizer:
    """Makes one float weight at a time; not to be shared by threads.

    The memory for it, as large as the largest weight so far, stays for the next one: fresh pages from the
    system take longer than the arithmetic.
    """

    def __init__(self) -> None:
        self._weight = torch.empty(0)
        self._codes = [torch.empty(0, dtype=torch.uint8) for _ in range(3)]

    def weight(self, parts: Sequence[ResidentPart], *, highest_level: int) -> torch.Tensor:
        """A whole weight, ``scale * codes + offset``.

        Args:
            parts: All its rows, in order.
            highest_level: Parts above it answer as if they were lowered to it, or to their base.

        Returns:
            float32, of the tensor's shape, valid until the next call.
        """
        shape = parts[0].part.shape
        count = math.prod(shape)
        with torch.inference_mode():
            if self._weight.numel() < count:
                self._weight = torch.empty(count)
            rows = self._weight[:count].view(shape[0], -1)
            for resident in parts:
                level = clamp_level(resident.levels, highest_level)
                affine = resident.affine(level)
                out = rows[resident.part.start : resident.part.stop]
                down = steps_down(resident.codes.level, resident.carries, resident.levels, level)
                out.copy_(self._signed_codes(resident.codes, down, level).view(out.shape))
                out.mul_(_column(affine.scale)).add_(_column(affine.offset))
            return rows.view(shape)

    def _signed_codes(
        self, held: Codes, down: Sequence[tuple[int, PackedCodes | None]], level: int
    ) -> torch.Tensor:
        """int8 [count], values in [-2**(level-1), 2**(level-1) - 1]; valid until the next call.

        Args:
            held: The codes at their own level.
            down: The steps from there to the wanted one.
            level: The wanted one.
        """
        codes = self._values(held)
        signed = self._buffer(1, held.count)
        for step_bits, carry in down:
            codes = torch.bitwise_right_shift(codes, step_bits, out=signed)
            if carry:
                codes.sub_(self._unsigned(carry, into=0, beside=2)).add_(carry_zero(carry))
        return torch.sub(codes, 1 << (level - 1), out=signed).view(torch.int8)

    def _values(self, held: Codes) -> torch.Tensor:
        """One per byte, whatever the form: uint8 [count], not to be changed."""
        if isinstance(held, PackedCodes):
            return self._unsigned(held, into=0, beside=1)
        return torch.from_numpy(held.values if isinstance(held, ByteCodes) else held.unsigned())

    def _unsigned(self, packed: PackedCodes, *, into: int, beside: int) -> torch.Tensor:
        """Values of all planes, put together: uint8 [count], not to be changed."""
        widths = plane_widths(packed.level)
        values = self._spread(packed.planes[0], widths[0], packed.count, into=into)
        for plane, width in zip(packed.planes[1:], widths[1:], strict=True):
            lower = self._spread(plane, width, packed.count, into=beside)
            values.bitwise_left_shift_(width).bitwise_or_(lower)
        return values

    def _spread(self, plane: NDArray[np.uint8], width_bits: int, count: int, *, into: int) -> torch.Tensor:
        """One plane's values, one per byte: uint8 [count] of scratch memory; at 8 bits the plane itself."""
        tensor = torch.from_numpy(plane)
        if width_bits == BYTE_BITS:
            return tensor
        runs = BYTE_BITS // width_bits
        buffer = self._buffer(into, runs * plane.size)
        torch.bitwise_right_shift(tensor, _SHIFTS[width_bits], out=buffer.view(runs, -1))
        return buffer.bitwise_and_((1 << width_bits) - 1)[:count]

    def _buffer(self, index: int, size_bytes: int) -> torch.Tensor:
        """uint8 [size_bytes] of scratch memory."""
        if self._codes[index].numel() < size_bytes:
            self._codes[index] = torch.empty(size_bytes, dtype=torch.uint8)
        return self._codes[index][:size_bytes]


def _column(values: NDArray[np.float32]) -> torch.Tensor:
    return torch.from_numpy(values).unsqueeze(1)
