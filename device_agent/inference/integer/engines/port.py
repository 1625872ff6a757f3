"""What runs a layer in integers."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any, Final, Protocol

import torch

from common.graph.ranges import LEAST_CODE, Grid
from device_agent.inference.integer.lanes import Laid
from device_agent.inference.integer.layers import Geometry

GREATEST: Final = 255  # of the codes of activations


@dataclass(slots=True, eq=False)  # not frozen: there is one for each layer of each answer
class EightBit:
    """A tensor of 8-bit numbers; never changed.

    Attributes:
        codes: uint8; stands for ``scale * (codes - zero)``.
        scale: Above 0.
        zero: 0..255.
    """

    codes: torch.Tensor
    scale: float
    zero: int

    @classmethod
    def on_grid(cls, codes: torch.Tensor, grid: Grid) -> EightBit:
        """Codes of a range's grid, whose own codes begin at -128."""
        return cls(codes, grid.scale, grid.zero_point - LEAST_CODE)

    def floats(self) -> torch.Tensor:
        """float32, of the same shape and layout."""
        return self.codes.to(torch.float32).sub_(self.zero).mul_(self.scale)


def quantized(tensor: torch.Tensor, grid: Grid) -> EightBit:
    """The nearest codes of a grid; numbers beyond its ends become its ends, NaN becomes one of them."""
    zero = grid.zero_point - LEAST_CODE
    return EightBit(unmarked(_quantize(tensor.to(torch.float32), grid.scale, zero)), grid.scale, zero)


def marked(value: EightBit) -> torch.Tensor:
    """A copy as a tensor of torch's own quantized kind."""
    return torch._make_per_tensor_quantized_tensor(value.codes, value.scale, value.zero)  # noqa: SLF001


def unmarked(tensor: torch.Tensor) -> torch.Tensor:
    """The same memory without torch's mark of a quantized tensor, which few operators take."""
    codes = torch.empty(0, dtype=torch.uint8)
    codes.set_(tensor.untyped_storage(), tensor.storage_offset(), tensor.shape, tensor.stride())
    return codes


def _quantize(tensor: torch.Tensor, scale: float, zero: int) -> torch.Tensor:
    return torch.quantize_per_tensor(tensor, scale, zero, torch.quint8)


# torch says once per process that this one-pass kernel will go in a later release; ours is pinned.
with warnings.catch_warnings():
    warnings.simplefilter("ignore", UserWarning)
    _quantize(torch.zeros(1), 1.0, 0)


@dataclass(slots=True, eq=False)
class Calculation:
    """A layer at work, but for its input.

    Attributes:
        weight: As ``Engine.pack`` gave it.
        scale: float32 [rows], of the weight's values.
        bias: float32 [rows]; None for none.
        geometry: Of the convolution.
        output: Grid of the result; None for float32.
        rectified: Whether numbers below 0 become 0.
        fixed: What an engine keeps of all that for its next call; its own.
    """

    weight: Any
    scale: torch.Tensor
    bias: torch.Tensor | None
    geometry: Geometry
    output: Grid | None
    rectified: bool
    fixed: Any = None


class Engine(Protocol):
    """A library of integer kernels for convolutions over two axes; a matrix is one of 1 x 1."""

    @property
    def name(self) -> str:
        """As settings and reports call it."""

    def gives_floats(self) -> bool:
        """Whether convolutions can give float32, and so the offset of each row exact.

        Every engine can for a matrix: 1 x 1 without stride, padding and groups.
        """

    def takes(self, geometry: Geometry, columns: int) -> bool:
        """Whether its sums hold for such a convolution, however large values and codes are.

        Args:
            geometry: Of the convolution.
            columns: Of its weight: those of its input, divided by the groups.
        """

    def pack(self, values: torch.Tensor, geometry: Geometry, source: tuple[int, ...]) -> Any:
        """A weight in the engine's own order; the only copy that is kept.

        Args:
            values: int8 [rows, columns / groups, height, width].
            geometry: Of the convolution.
            source: Shape of the input that is expected; others run too.
        """

    def another(self, weight: Any) -> tuple[Any, Laid] | None:
        """A copy of a packed weight, and where its values are, to be written while nobody uses it.

        None where the engine's order is not known: then values have to be packed.
        """

    def laid(self, weight: Any) -> Laid:
        """The values of a packed weight, not to be changed."""

    def unpack(self, weight: Any) -> torch.Tensor:
        """The values again: int8, contiguous, not to be changed."""

    @property
    def bytes_per_weight(self) -> int:
        """Memory that it takes for each weight."""

    def packed_bytes(self, weight: Any) -> int:
        """Memory that a packed weight takes, as far as it can be known."""

    def run(self, source: EightBit, what: Calculation, added: EightBit | None) -> torch.Tensor:
        """The layer's result.

        Args:
            source: [batch, columns, height, width].
            what: The layer.
            added: Of the result's shape, joins the sum before it is rectified; its memory may be overwritten.
                Only where the output has a grid.

        Returns:
            uint8 on the output's grid, or float32; channels last in memory.
        """
