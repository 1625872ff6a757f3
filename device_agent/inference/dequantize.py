"""From packed codes to float weights, right before a layer needs them."""

from __future__ import annotations

from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray

from device_agent.residency.bit_planes import BYTE_BITS, PackedCodes, plane_widths, run_shifts
from device_agent.residency.resident import ResidentPart

_SHIFTS: Final = {width: torch.from_numpy(run_shifts(width)) for width in (4, 2, 1)}


class Dequantizer:
    """Writes ``scale * codes + offset``; not to be shared by threads.

    Memory for intermediate values is kept from part to part: fresh pages cost as much as the arithmetic.
    """

    def __init__(self) -> None:
        self._scratch = [torch.empty(0, dtype=torch.uint8) for _ in range(2)]

    def write_rows(self, resident: ResidentPart, index: int, level: int, out: torch.Tensor) -> None:
        """Write the weights of one part at a level.

        Args:
            resident: The part; its codes are at ``level`` or above.
            index: Position of ``level`` among the version's levels.
            level: Bits per code to answer with; higher codes are lowered on the way.
            out: float32 [rows, row weights], contiguous; overwritten.
        """
        affine = resident.affines[index]
        out.copy_(self._signed_codes(resident.codes, level).view(out.shape))
        out.mul_(_column(affine.scale)).add_(_column(affine.offset))

    def _signed_codes(self, packed: PackedCodes, level: int) -> torch.Tensor:
        """int8 [count], values in [-2**(level-1), 2**(level-1) - 1]; valid until the next call."""
        widths = plane_widths(packed.level)
        codes = self._spread(packed.planes[0], widths[0], packed.count, into=0)
        for plane, width in zip(packed.planes[1:], widths[1:], strict=True):
            codes.bitwise_left_shift_(width).bitwise_or_(self._spread(plane, width, packed.count, into=1))
        if level < packed.level:
            codes.bitwise_right_shift_(packed.level - level)
        return codes.sub_(1 << (level - 1)).view(torch.int8)

    def _spread(self, plane: NDArray[np.uint8], width_bits: int, count: int, *, into: int) -> torch.Tensor:
        """The values of one plane, one per byte: uint8 [count] of scratch memory."""
        runs = BYTE_BITS // width_bits
        buffer = self._buffer(into, runs * plane.size)
        if runs == 1:
            return buffer.copy_(torch.from_numpy(plane))
        torch.bitwise_right_shift(torch.from_numpy(plane), _SHIFTS[width_bits], out=buffer.view(runs, -1))
        return buffer.bitwise_and_((1 << width_bits) - 1)[:count]

    def _buffer(self, index: int, size_bytes: int) -> torch.Tensor:
        """uint8 [size_bytes] of scratch memory."""
        if self._scratch[index].numel() < size_bytes:
            self._scratch[index] = torch.empty(size_bytes, dtype=torch.uint8)
        return self._scratch[index][:size_bytes]


def _column(values: NDArray[np.float32]) -> torch.Tensor:
    return torch.from_numpy(values).unsqueeze(1)
