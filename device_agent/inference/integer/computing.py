"""What a layer computes around its kernel: offsets, and the sums of linear layers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from common.errors import UnsupportedModelError
from device_agent.inference.integer.binding import BoundLayer
from device_agent.inference.integer.engines.port import EightBit, Engine
from device_agent.inference.integer.layers import Layer
from device_agent.inference.integer.row_codes import RowCodes


def failed(layer: Layer, error: RuntimeError) -> UnsupportedModelError:
    """What a failure of a kernel becomes."""
    reason = str(error).partition("\n")[0][:300]
    return UnsupportedModelError(f"The kernel of {layer.weight!r} failed: {reason}")


def convolution(engine: Engine, source: EightBit, added: EightBit | None, bound: BoundLayer) -> torch.Tensor:
    """A layer's result before it is clipped, but for what the kernel clips by itself."""
    if bound.offset is None:
        return engine.run(source, bound.calculation, added)
    result = engine.run(source, bound.calculation, None)
    _add_offset(engine, result, source, bound)
    return result if added is None else result.add_(added.floats())


def linear(engine: Engine, source: RowCodes, bound: BoundLayer) -> torch.Tensor:
    """float32 [..., rows] from [..., columns]: a convolution over one long column of pixels."""
    codes = source.codes
    plane = codes.view(1, *codes.shape, 1).permute(0, 2, 1, 3)
    sums = engine.run(EightBit(plane, 1.0, 0), bound.calculation, None)
    rows = sums.permute(0, 2, 3, 1).reshape(len(codes), -1)
    if bound.terms is None:
        raise ValueError("a linear layer has its terms")
    rows.addmm_(source.terms, bound.terms).mul_(source.scale)
    return rows.view(*source.lead, -1)


def _add_offset(engine: Engine, result: torch.Tensor, source: EightBit, bound: BoundLayer) -> None:
    """Add each row's offset times the sum of the input under the window, which is one for all rows."""
    if bound.window is None or bound.offset is None:
        raise ValueError("a convolution with offsets has a window")
    sums = engine.run(source, bound.window, None).permute(0, 2, 3, 1).unsqueeze(-1)
    groups = sums.shape[3]
    by_group = result.permute(0, 2, 3, 1).view(*sums.shape[:4], -1)
    torch.addcmul(by_group, sums, bound.offset.view(groups, -1), out=by_group)


def fits(source: EightBit, added: EightBit, bound: BoundLayer, layer: Layer) -> bool:
    """Whether what is added has the shape of the sum: it could be spread out over it."""
    batch, _, height, width = source.codes.shape
    of = layer.geometry
    step_y, step_x = of.stride
    span_y, span_x = bound.span
    sizes = ((height - span_y) // step_y + 1, (width - span_x) // step_x + 1)
    return added.codes.shape == (batch, bound.weight.rows, *sizes)


def greatest(codes: torch.Tensor, *args: Any, **kwargs: Any) -> torch.Tensor:
    """The greatest of each window: ``aten.max_pool2d`` on uint8, with its arguments."""
    kernel, stride, padding, dilation, ceil_mode = _pooling(*args, **kwargs)
    result: torch.Tensor = torch.ops.quantized.max_pool2d(
        codes, kernel, stride or kernel, padding, dilation, ceil_mode
    )
    return result


def _pooling(
    kernel_size: Sequence[int],
    stride: Sequence[int] = (),
    padding: Sequence[int] | int = 0,
    dilation: Sequence[int] | int = 1,
    ceil_mode: bool = False,  # noqa: FBT001, FBT002
) -> tuple[list[int], list[int], list[int], list[int], bool]:
    return _pair(kernel_size), _pair(stride), _pair(padding), _pair(dilation), ceil_mode


def _pair(item: Sequence[int] | int) -> list[int]:
    sizes = [item] if isinstance(item, int) else list(item)
    return sizes * 2 if len(sizes) == 1 else sizes
