"""A layer with its weights: norm and bias folded into what the engine multiplies and adds per row."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray

from common.graph.ranges import LEAST_CODE, Grid
from device_agent.inference.integer.engines.port import GREATEST, Calculation, EightBit
from device_agent.inference.integer.layers import Layer
from device_agent.inference.integer.weights import KernelWeight
from device_agent.residency.resident import Snapshot

_TRIFLE: Final = 1e-3  # of a step of the grid


@dataclass(frozen=True, slots=True, eq=False)
class BoundLayer:
    """What a request needs of a layer.

    Attributes:
        weight: The kernel's copy of the weight.
        floats: The floats that went in, to tell whether others have come.
        calculation: What the engine does.
        clip: What is left to clip its result to, codes or floats; None where nothing is.
        span: Height and width of the window, less the padding at both ends.
        offset: float32 [rows], times the sum of the input gives what the values lack; None where they lack
            nothing.
        window: Sums the input under a convolution's window, one for each group; only beside an offset.
        terms: float32 [3, rows] of a linear layer: the sum of each row's values, its offset, its bias; see
            ``row_codes``.
    """

    weight: KernelWeight
    floats: tuple[NDArray[Any], ...]
    calculation: Calculation
    clip: tuple[float, float] | None
    span: tuple[int, int]
    offset: torch.Tensor | None
    window: Calculation | None = None
    terms: torch.Tensor | None = None


def layer_floats(layer: Layer, snapshot: Snapshot) -> tuple[NDArray[Any], ...]:
    """The layer's states beside its weight, at their blocks' levels."""
    return tuple(snapshot.float_value(name, snapshot.levels[-1]) for name in layer.states[1:])


def bind(layer: Layer, weight: KernelWeight, snapshot: Snapshot, output: Grid | None) -> BoundLayer:
    """The layer with its weight.

    Args:
        layer: The layer.
        weight: All rows of it.
        snapshot: Holds its floats.
        output: Grid of its result; None for float32.
    """
    gain, shift = _norm(layer, snapshot, weight.rows)
    bias = _value(snapshot, layer.bias, 0.0, weight.rows) * gain + shift
    offset = None if weight.offset is None else torch.from_numpy((weight.offset * gain).astype(np.float32))
    if offset is not None:
        output = None  # what the offset adds comes before 8 bits
    calculation = Calculation(
        weight=weight.packed,
        scale=torch.from_numpy((weight.scale * gain).astype(np.float32)),
        bias=torch.from_numpy(bias.astype(np.float32)),
        geometry=layer.geometry,
        output=output,
        rectified=output is None and offset is None and layer.low == 0,
    )
    floats, span = layer_floats(layer, snapshot), _span(layer, weight)
    if layer.kind == "linear":
        bare, offset, terms = _linear(weight, calculation, offset)
        return BoundLayer(weight, floats, bare, _clip(layer, bare), span, offset, terms=terms)
    window = None if offset is None else _window(layer, weight)
    return BoundLayer(weight, floats, calculation, _clip(layer, calculation), span, offset, window)


def _clip(layer: Layer, what: Calculation) -> tuple[float, float] | None:
    """What the layer's activation clips, and neither the kernel nor the ends of the grid do."""
    grid = what.output
    if grid is None:
        done = (what.rectified or math.isinf(layer.low)) and math.isinf(layer.high)
        return None if done else (layer.low, layer.high)
    zero = grid.zero_point - LEAST_CODE
    low, high = -zero * grid.scale, (GREATEST - zero) * grid.scale
    slack = _TRIFLE * grid.scale
    if layer.low <= low + slack and layer.high >= high - slack:
        return None
    least = 0 if math.isinf(layer.low) else round(layer.low / grid.scale) + zero
    most = GREATEST if math.isinf(layer.high) else round(layer.high / grid.scale) + zero
    return min(max(least, 0), GREATEST), min(max(most, 0), GREATEST)


def _span(layer: Layer, weight: KernelWeight) -> tuple[int, int]:
    of = layer.geometry
    height, width = (
        dilation * (size - 1) + 1 - 2 * padding
        for size, dilation, padding in zip(weight.kernel, of.dilation, of.padding, strict=True)
    )
    return height, width


def _linear(
    weight: KernelWeight, what: Calculation, offset: torch.Tensor | None
) -> tuple[Calculation, torch.Tensor, torch.Tensor]:
    """A layer that gives bare sums, its offset, and its terms."""
    bare = replace(what, bias=None, rectified=False)
    columns = weight.shape[1]
    ones = torch.ones((1, columns, 1, 1), dtype=torch.uint8)
    sums = weight.engine.run(EightBit(ones, 1.0, 0), bare, None).reshape(-1)
    none = torch.zeros_like(sums)
    offset = none if offset is None else offset
    return bare, offset, torch.stack((sums, offset, none if what.bias is None else what.bias))


def _window(layer: Layer, weight: KernelWeight) -> Calculation:
    groups = layer.geometry.groups
    ones = torch.ones((groups, *weight.shape[1:]), dtype=torch.int8)
    return Calculation(
        weight=weight.engine.pack(ones, layer.geometry, weight.source),
        scale=torch.ones(groups),
        bias=torch.zeros(groups),
        geometry=layer.geometry,
        output=None,
        rectified=False,
    )


def _norm(layer: Layer, snapshot: Snapshot, rows: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """What each row is multiplied by, and what is added then."""
    norm = layer.norm
    if norm is None:
        return np.ones(rows), np.zeros(rows)
    variance = _value(snapshot, norm.variance, 1.0, rows)
    gain = _value(snapshot, norm.gain, 1.0, rows) / np.sqrt(variance + norm.epsilon)
    return gain, _value(snapshot, norm.shift, 0.0, rows) - _value(snapshot, norm.mean, 0.0, rows) * gain


def _value(snapshot: Snapshot, name: str | None, default: float, rows: int) -> NDArray[np.float64]:
    if name is None:
        return np.full(rows, default)
    values: NDArray[np.float64] = snapshot.float_value(name, snapshot.levels[-1]).astype(np.float64)
    return values
