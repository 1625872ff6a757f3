"""oneDNN's kernels, through the operators that torch has for them; x86 with VNNI, and ARM builds with it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Final

import torch

from common.graph.ranges import LEAST_CODE
from device_agent.inference.integer.engines.onednn_order import Orders, laid_in
from device_agent.inference.integer.engines.port import Calculation, EightBit
from device_agent.inference.integer.lanes import Laid
from device_agent.inference.integer.layers import Geometry

_NAME: Final = "onednn"


@dataclass(frozen=True, slots=True, eq=False)
class _Fixed:
    """The operator's arguments that are the same for every input of one scale and zero point.

    Attributes:
        scale, zero: Of the input.
        before: From the input's scale to the weight's zero points.
        after: Bias, geometry and output.
        alone: All of them, and the activation.
        summed: Sum and activation.
    """

    scale: float
    zero: int
    before: tuple[Any, ...]
    after: tuple[Any, ...]
    alone: tuple[Any, ...]
    summed: tuple[Any, ...]


class OneDnn:
    """``torch.ops.onednn``: weights packed once, activation and shortcut fused, outputs of 8 or 32 bits."""

    def __init__(self) -> None:
        self._pack = torch.ops.onednn.qconv_prepack.default
        self._run = torch.ops.onednn.qconv_pointwise.default
        self._run_added = torch.ops.onednn.qconv2d_pointwise.binary
        self._zeros: dict[int, torch.Tensor] = {}
        self._orders = Orders()

    @staticmethod
    def is_here() -> bool:
        """Whether this torch and this processor have it: without VNNI sums of pairs would saturate."""
        has_ops = hasattr(torch.ops.onednn, "qconv_pointwise") and hasattr(torch.ops.onednn, "qconv_prepack")
        return has_ops and torch._C._has_mkldnn and bool(torch.cpu._is_vnni_supported())  # noqa: SLF001

    @property
    def name(self) -> str:
        """As settings and reports call it."""
        return _NAME

    def gives_floats(self) -> bool:
        """Results can be float32."""
        return True

    def takes(self, geometry: Geometry, columns: int) -> bool:  # noqa: ARG002
        """All of them."""
        return True

    def pack(self, values: torch.Tensor, geometry: Geometry, source: tuple[int, ...]) -> torch.Tensor:
        """See the port. Neither scales nor zero points enter the packed form; see ``run``."""
        return self._pack(  # type: ignore[no-any-return]
            values, torch.ones(len(values)), 1.0, 0, *_axes(geometry), geometry.groups, list(source)
        )

    def another(self, weight: Any) -> tuple[torch.Tensor, Laid] | None:
        """See the port. An order is proven on a clone, so a clone has it."""
        lanes = self._orders.of(weight)
        if lanes is None:
            return None
        clone = weight.clone()
        return clone, laid_in(clone, lanes)

    def laid(self, weight: Any) -> Laid:
        """See the port."""
        lanes = self._orders.of(weight)
        return Laid.plain(self.unpack(weight).numpy()) if lanes is None else laid_in(weight, lanes)

    def unpack(self, weight: Any) -> torch.Tensor:
        """See the port."""
        values: torch.Tensor = weight.to_dense()
        return values.contiguous()

    @property
    def bytes_per_weight(self) -> int:
        """One: there is no other copy."""
        return 1

    def packed_bytes(self, weight: Any) -> int:
        """One byte a weight; oneDNN fills rows up to its own multiples, which cannot be seen from here."""
        return int(weight.numel())

    def run(self, source: EightBit, what: Calculation, added: EightBit | None) -> torch.Tensor:
        """See the port.

        oneDNN keeps each row's sum beside a weight whose input has a zero point, and packs one without sums
        anew at every call. Packing for a zero point is no remedy: torch gives a weight the form in which
        another of its shape was packed first. So zero points go into the bias, unless padding repeats them.
        """
        fixed: _Fixed | None = what.fixed
        if fixed is None or fixed.scale != source.scale or fixed.zero != source.zero:
            fixed = what.fixed = self._fixed(source, what)
        result: torch.Tensor
        if added is None:
            result = self._run(source.codes, *fixed.alone)
        else:
            sum_ = added.codes.contiguous(memory_format=torch.channels_last)
            addend = (added.scale, added.zero)
            result = self._run_added(source.codes, *fixed.before, sum_, *fixed.after, *addend, *fixed.summed)
        return result

    def _fixed(self, source: EightBit, what: Calculation) -> _Fixed:
        output = what.output
        scale, zero = (output.scale, output.zero_point - LEAST_CODE) if output else (1.0, 0)
        dtype = torch.uint8 if output else torch.float32
        bias, zero_left = what.bias, source.zero
        if source.zero and not any(what.geometry.padding):
            moved = self._sums(what) * what.scale * (-source.zero * source.scale)
            bias, zero_left = moved if bias is None else bias + moved, 0
        before = (source.scale, zero_left, what.weight, what.scale, self._no_zeros(len(what.scale)))
        after = (bias, *_axes(what.geometry), what.geometry.groups, scale, zero, dtype)
        activation: tuple[Any, ...] = ("relu" if what.rectified else "none", [], "")
        return _Fixed(
            source.scale,
            source.zero,
            before,
            after,
            alone=(*before, *after, *activation),
            summed=("sum", 1.0, *activation),
        )

    def _sums(self, what: Calculation) -> torch.Tensor:
        """float32 [rows]: the sum of each row's values, from an input of ones that is one window large."""
        geometry = what.geometry
        columns = what.weight.shape[1] * geometry.groups
        window = (
            dilation * (size - 1) + 1
            for size, dilation in zip(what.weight.shape[2:], geometry.dilation, strict=True)
        )
        ones = EightBit(torch.ones((1, columns, *window), dtype=torch.uint8), 1.0, 0)
        bare = replace(
            what, scale=torch.ones_like(what.scale), bias=None, output=None, rectified=False, fixed=None
        )
        return self.run(ones, bare, None).reshape(-1)

    def _no_zeros(self, rows: int) -> torch.Tensor:
        zeros = self._zeros.get(rows)
        if zeros is None:
            zeros = self._zeros[rows] = torch.zeros(rows, dtype=torch.int64)
        return zeros


def _axes(geometry: Geometry) -> tuple[list[int], list[int], list[int]]:
    return list(geometry.stride), list(geometry.padding), list(geometry.dilation)
