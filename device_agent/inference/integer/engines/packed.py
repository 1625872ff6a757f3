"""QNNPACK's and FBGEMM's kernels, through torch's packed parameters.

The scales of rows are part of the packed form, so it is made in the first run of a layer, and again when its
scale or bias has changed. Its memory for each weight: one byte with fbgemm; two with qnnpack, which keeps the
original beside what it packed (torch gives it up only in mobile builds, and then nothing leads back).

A convolution gives 8 bits only. A shortcut is added to its 8-bit result, on a grid wide enough that nothing
which the sum still needs is cut off: one rounding more, of at most half a step of that grid. A matrix gives
sums as exact as float32: ``linear_dynamic`` chooses the grid of its input from the least and the greatest
number, and for codes beside a row that has 0 and 255 that grid is the codes themselves.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final, Literal, TypeAlias

import torch

from common.graph.ranges import LEAST_CODE, Grid, grid_of
from device_agent.inference.integer.engines.port import (
    GREATEST,
    Calculation,
    EightBit,
    marked,
    quantized,
    unmarked,
)
from device_agent.inference.integer.lanes import Laid
from device_agent.inference.integer.layers import Geometry

Library: TypeAlias = Literal["qnnpack", "fbgemm"]

_QNNPACK_BYTES: Final = 2
# A row's bias is int32 in units of its sums: it may be this many of them.
_MOST_BIAS: Final = 2.0**30
_LEAST_SCALE: Final = 1e-30  # kernels want a normal number, times scales of activations too
# Scales of addends, in steps of the sum, that every library's addition takes.
_LEAST_RATIO: Final = 2.0**-13
_MOST_RATIO: Final = 2.0**7

_selecting = threading.Lock()


@dataclass(frozen=True, slots=True, eq=False)
class _Form:
    """A weight with its rows' scales in it.

    Attributes:
        scale, bias: What it was made for; other tensors are others, whatever is in them.
        source_scale: That too; None for sums of a matrix, which have none of the three.
        parameters: The library's own.
        negative: bool [rows]: where the scale is below 0. Kernels want it above, so the values there are
            ``-1 - values`` with a zero point of -1.
        dead: int64: rows whose bias is too far above what their weights could add, or is all they have.
        kept: int8 [dead, ...]: the values of these rows, which are 0 for the kernel.
        sums: float32 [rows] of a matrix's values; None of a convolution.
    """

    scale: torch.Tensor | None
    bias: torch.Tensor | None
    source_scale: float | None
    parameters: Any
    negative: torch.Tensor
    dead: torch.Tensor
    kept: torch.Tensor
    sums: torch.Tensor | None = None

    def serves(self, what: Calculation, source_scale: float) -> bool:
        """Whether it is what a calculation needs."""
        if what.output is None:
            return self.source_scale is None
        same = self.scale is what.scale and self.bias is what.bias
        return same and self.source_scale == source_scale


class PackedWeight:
    """A weight as it was given, or in its last form; threads may share it.

    Attributes:
        held: Either of them: changes in one step, so that nobody sees a half of it.
        count: How many weights.
    """

    __slots__ = ("count", "held")

    def __init__(self, values: torch.Tensor) -> None:
        self.held: torch.Tensor | _Form = values
        self.count = values.numel()


class Packed:
    """``torch.ops.quantized`` with one of its libraries.

    Packing asks ``torch.backends.quantized.engine``, which is of the whole process: it is set for the moment
    of packing and set back, under a lock. Whoever else packs in the same moment must not rely on it. Runs ask
    only the packed parameters, and additions any engine.

    Args:
        library: Which; see ``is_here``.
    """

    def __init__(self, library: Library) -> None:
        self._library = library

    @staticmethod
    def is_here(library: Library) -> bool:
        """Whether torch has it and its sums hold: without VNNI, fbgemm's sums of pairs saturate."""
        here = library in torch.backends.quantized.supported_engines
        return here and (library != "fbgemm" or bool(torch.cpu._is_vnni_supported()))  # noqa: SLF001

    @property
    def name(self) -> str:
        """As settings and reports call it."""
        return self._library

    def gives_floats(self) -> bool:
        """Convolutions give 8 bits."""
        return False

    def takes(self, geometry: Geometry, columns: int) -> bool:
        """See the port. fbgemm's sums of pairs saturate in depthwise convolutions, with VNNI too."""
        return self._library != "fbgemm" or geometry.groups == 1 or columns > 1

    def pack(self, values: torch.Tensor, geometry: Geometry, source: tuple[int, ...]) -> PackedWeight:  # noqa: ARG002
        """See the port; what is packed in truth, is packed by the first run."""
        return PackedWeight(values)

    def unpack(self, weight: PackedWeight) -> torch.Tensor:
        """See the port."""
        held = weight.held
        return self._values(held) if isinstance(held, _Form) else held

    def another(self, weight: PackedWeight) -> None:  # noqa: ARG002
        """See the port: only the library knows its order."""
        return

    def laid(self, weight: PackedWeight) -> Laid:
        """See the port."""
        return Laid.plain(self.unpack(weight).numpy())

    @property
    def bytes_per_weight(self) -> int:
        """See the port."""
        return self._bytes_per_weight

    def packed_bytes(self, weight: PackedWeight) -> int:
        """From the first run on, without what kernels fill rows up with."""
        held = weight.held
        kept_bytes = held.kept.nbytes if isinstance(held, _Form) else 0
        return weight.count * self._bytes_per_weight + kept_bytes

    def run(self, source: EightBit, what: Calculation, added: EightBit | None) -> torch.Tensor:
        """See the port."""
        form = self._form(what, source.scale)
        if what.output is None:
            return _multiplied(source, what, form)
        if added is None:
            return _convolved(source, form, what.output).codes
        bare = _convolved(source, form, _grid_before(what.output, added))
        return _summed(bare, added, what.output)

    @property
    def _bytes_per_weight(self) -> int:
        return _QNNPACK_BYTES if self._library == "qnnpack" else 1

    def _form(self, what: Calculation, source_scale: float) -> _Form:
        weight: PackedWeight = what.weight
        held = weight.held
        if isinstance(held, _Form) and held.serves(what, source_scale):
            return held
        values = self.unpack(weight)
        made = self._matrix(values) if what.output is None else self._plane(values, what, source_scale)
        weight.held = made
        return made

    def _plane(self, values: torch.Tensor, what: Calculation, source_scale: float) -> _Form:
        """The form of a convolution to 8 bits."""
        scale = what.scale.double()
        bias = torch.zeros_like(scale) if what.bias is None else what.bias.double()
        negative = scale < 0
        least = bias.abs().div_(_MOST_BIAS * source_scale).clamp_(min=_LEAST_SCALE)
        dead = (scale.abs() < least).nonzero().flatten()
        kept = values[dead].clone()
        given = torch.where(negative.view(-1, 1, 1, 1), values.bitwise_not(), values)
        given[dead] = negative[dead].view(-1, 1, 1, 1).to(torch.int8).neg_()
        rows = _per_row(given, scale.abs().maximum(least), negative)
        geometry = what.geometry
        axes = list(geometry.stride), list(geometry.padding), list(geometry.dilation)
        with _selected(self._library):
            parameters = torch.ops.quantized.conv2d_prepack(rows, bias.float(), *axes, geometry.groups)
        return _Form(what.scale, what.bias, source_scale, parameters, negative, dead, kept)

    def _matrix(self, values: torch.Tensor) -> _Form:
        """The form that gives sums."""
        rows = values.flatten(1)
        none = torch.zeros(len(rows), dtype=torch.bool)
        with _selected(self._library):
            parameters = torch.ops.quantized.linear_prepack(
                _per_row(rows, torch.ones(len(rows), dtype=torch.float64), none), None
            )
        dead = torch.zeros(0, dtype=torch.int64)
        return _Form(None, None, None, parameters, none, dead, values[:0], rows.sum(1, dtype=torch.float32))

    def _values(self, form: _Form) -> torch.Tensor:
        with _selected(self._library):
            if form.source_scale is None:
                rows, _ = torch.ops.quantized.linear_unpack(form.parameters)
            else:
                rows, _ = torch.ops.quantized.conv2d_unpack(form.parameters)
        given: torch.Tensor = rows.int_repr().contiguous()
        given = given.view(*given.shape, *(1,) * (4 - given.dim()))
        values = torch.where(form.negative.view(-1, 1, 1, 1), given.bitwise_not(), given)
        values[form.dead] = form.kept
        return values


@contextmanager
def _selected(library: Library) -> Iterator[None]:
    with _selecting:
        before = torch.backends.quantized.engine
        torch.backends.quantized.engine = library
        try:
            yield
        finally:
            torch.backends.quantized.engine = before


def _per_row(values: torch.Tensor, scale: torch.Tensor, negative: torch.Tensor) -> torch.Tensor:
    zeros = negative.to(torch.int64).neg_()
    return torch._make_per_channel_quantized_tensor(values, scale, zeros, 0)  # noqa: SLF001


def _convolved(source: EightBit, form: _Form, grid: Grid) -> EightBit:
    zero = grid.zero_point - LEAST_CODE
    result = torch.ops.quantized.conv2d(marked(source), form.parameters, grid.scale, zero)
    return EightBit(unmarked(result), grid.scale, zero)


def _multiplied(source: EightBit, what: Calculation, form: _Form) -> torch.Tensor:
    """float32 [batch, rows, height, width] of a matrix over pixels."""
    codes = source.codes.permute(0, 2, 3, 1)
    pixels = codes.reshape(-1, codes.shape[-1])
    floats = torch.zeros((len(pixels) + 1, pixels.shape[1]))
    floats[:-1] = pixels
    floats[-1, 0] = GREATEST  # beside zeros: now the library's own grid is that of the codes
    result: torch.Tensor = torch.ops.quantized.linear_dynamic(floats, form.parameters)[:-1]
    if source.zero and form.sums is not None:
        result.sub_(form.sums, alpha=source.zero)
    result.mul_(what.scale * source.scale)
    if what.bias is not None:
        result.add_(what.bias)
    if what.rectified:
        result.clamp_(min=0)
    return result.view(*codes.shape[:-1], -1).permute(0, 3, 1, 2)


def _summed(bare: EightBit, added: EightBit, output: Grid) -> torch.Tensor:
    scale = output.scale
    steps = (bare.scale / scale, added.scale / scale)
    if not (min(steps) > _LEAST_RATIO and max(steps) < _MOST_RATIO):
        return quantized(bare.floats().add_(added.floats()), output).codes
    zero = output.zero_point - LEAST_CODE
    return unmarked(torch.ops.quantized.add(marked(bare), marked(added), scale, zero))


def _grid_before(output: Grid, added: EightBit) -> Grid:
    """A grid of what ``added`` joins: where that is beyond it, the sum is beyond the output's own too."""
    low, high = _ends(EightBit.on_grid(added.codes, output))
    least, most = _ends(added)
    return grid_of(low - most, high - least)


def _ends(value: EightBit) -> tuple[float, float]:
    return -value.zero * value.scale, (GREATEST - value.zero) * value.scale
