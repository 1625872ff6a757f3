"""From packed codes to float weights, right before a layer needs them."""

from __future__ import annotations

from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray

from device_agent.residency.bit_planes import BYTE_BITS, SPREADS, PackedCodes, plane_widths
from device_agent.residency.resident import ResidentPart

_WORDS: Final = {2: torch.int16, 4: torch.int32, 8: torch.int64}


def dequantize_rows(resident: ResidentPart, index: int, level: int, out: torch.Tensor) -> None:
    """Write ``scale * codes + offset`` of one part at a level.

    Args:
        resident: The part; its codes are at ``level`` or above.
        index: Position of ``level`` among the version's levels.
        level: Bits per code to answer with; higher codes are lowered on the way.
        out: float32 [rows, row weights], contiguous; overwritten.
    """
    codes = _signed_codes(resident.codes, level)
    affine = resident.affines[index]
    out.copy_(codes.view(out.shape))
    out.mul_(_column(affine.scale)).add_(_column(affine.offset))


def _signed_codes(packed: PackedCodes, level: int) -> torch.Tensor:
    """int8 [count], values in [-2**(level-1), 2**(level-1) - 1]."""
    widths = plane_widths(packed.level)
    unsigned = _spread(packed.planes[0], widths[0], packed.count)
    for plane, width in zip(packed.planes[1:], widths[1:], strict=True):
        unsigned = unsigned.bitwise_left_shift_(width).bitwise_or_(_spread(plane, width, packed.count))
    if level < packed.level:
        unsigned = unsigned.bitwise_right_shift(packed.level - level)
    return unsigned.sub(1 << (level - 1)).view(torch.int8)


def _spread(plane: NDArray[np.uint8], width_bits: int, count: int) -> torch.Tensor:
    """``residency.bit_planes.spread_plane`` in torch, which runs on all cores; may share memory at 8 bits."""
    tensor = torch.from_numpy(plane)
    if width_bits == BYTE_BITS:
        return tensor
    spread = SPREADS[width_bits]
    words = tensor.to(_WORDS[spread.per_byte])
    for shift, mask in spread.steps:
        words.bitwise_or_(words.bitwise_left_shift(shift)).bitwise_and_(mask)
    return words.view(torch.uint8)[:count]


def _column(values: NDArray[np.float32]) -> torch.Tensor:
    return torch.from_numpy(values).unsqueeze(1)
