"""oneDNN's kernels, through the operators that torch has for them; x86 with VNNI, and ARM builds with it."""

from __future__ import annotations

from typing import Any, Final

import torch

from common.graph.ranges import LEAST_CODE
from device_agent.inference.integer.engines.port import Calculation, EightBit
from device_agent.inference.integer.layers import Geometry

_NAME: Final = "onednn"


class OneDnn:
    """``torch.ops.onednn``: weights packed once, activation and shortcut fused, outputs of 8 or 32 bits."""

    def __init__(self) -> None:
        self._pack = torch.ops.onednn.qconv_prepack.default
        self._run = torch.ops.onednn.qconv_pointwise.default
        self._run_added = torch.ops.onednn.qconv2d_pointwise.binary
        self._zeros: dict[int, torch.Tensor] = {}

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
        """See the port. Neither scales nor zero points enter the packed form."""
        return self._pack(  # type: ignore[no-any-return]
            values, torch.ones(len(values)), 1.0, 0, *_axes(geometry), geometry.groups, list(source)
        )

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
        """See the port."""
        fixed = what.fixed
        if fixed is None:
            fixed = what.fixed = self._fixed(what)
        before, geometry, attribute = fixed
        result: torch.Tensor
        if added is None:
            result = self._run(
                source.codes, source.scale, source.zero, *before, what.bias, *geometry, attribute, [], ""
            )
        else:
            sum_up: tuple[Any, ...] = (added.scale, added.zero, "sum", 1.0, attribute, [], "")
            accumulated = added.codes.contiguous(memory_format=torch.channels_last)
            result = self._run_added(
                source.codes,
                source.scale,
                source.zero,
                *before,
                accumulated,
                what.bias,
                *geometry,
                *sum_up,
            )
        return result

    def _fixed(self, what: Calculation) -> tuple[tuple[Any, ...], tuple[Any, ...], str]:
        """Arguments that are the same for every input: weights, then geometry and output, then activation."""
        output = what.output
        scale, zero = (output.scale, output.zero_point - LEAST_CODE) if output else (1.0, 0)
        dtype = torch.uint8 if output else torch.float32
        geometry = (*_axes(what.geometry), what.geometry.groups, scale, zero, dtype)
        weights = (what.weight, what.scale, self._no_zeros(len(what.scale)))
        return weights, geometry, "relu" if what.rectified else "none"

    def _no_zeros(self, rows: int) -> torch.Tensor:
        zeros = self._zeros.get(rows)
        if zeros is None:
            zeros = self._zeros[rows] = torch.zeros(rows, dtype=torch.int64)
        return zeros


def _axes(geometry: Geometry) -> tuple[list[int], list[int], list[int]]:
    return list(geometry.stride), list(geometry.padding), list(geometry.dilation)
