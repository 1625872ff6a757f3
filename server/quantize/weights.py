"""The float weights of a push, read from disk a few rows at a time."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import safetensors
import torch

from common.errors import InvalidInputError

# The container's names of what a model's tensors may be, and torch's.
DTYPES: Final = {
    "BOOL": torch.bool,
    "U8": torch.uint8,
    "I8": torch.int8,
    "I16": torch.int16,
    "I32": torch.int32,
    "I64": torch.int64,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "F32": torch.float32,
    "F64": torch.float64,
}


_MAPPING_BYTES: Final = 8 * 1024 * 1024


class WeightsFile:
    """A safetensors file; rows come from disk when asked for and are not kept.

    They are views of the mapped file, and what was read through one mapping counts as this process' memory
    until it ends. So after some bytes there is a new one; the old one goes with the last rows of it.

    Raises:
        InvalidInputError: The file is no safetensors container.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._container = _mapped(path)
        self._read_bytes = 0
        self.names = frozenset(self._container.keys())

    def describe(self, name: str) -> tuple[torch.dtype, tuple[int, ...]]:
        """Type and shape of a tensor.

        Raises:
            InvalidInputError: There is no such tensor, or its type is not known.
        """
        if name not in self.names:
            raise InvalidInputError(f"The weights file has no tensor {name[:200]!r}, which the graph names.")
        view = self._container.get_slice(name)
        if view.get_dtype() not in DTYPES:
            raise InvalidInputError(f"Tensor {name[:200]!r} has type {view.get_dtype()}, which is not known.")
        return DTYPES[view.get_dtype()], tuple(view.get_shape())

    def rows(self, name: str, start: int, stop: int) -> torch.Tensor:
        """Rows of a tensor of at least one axis, in its own type."""
        rows: torch.Tensor = self._fresh().get_slice(name)[start:stop]
        self._read_bytes += rows.nbytes
        return rows

    def whole(self, name: str) -> torch.Tensor:
        """A tensor in its own type and shape."""
        tensor: torch.Tensor = self._fresh().get_tensor(name)
        self._read_bytes += tensor.nbytes
        return tensor

    def _fresh(self) -> Any:
        if self._read_bytes > _MAPPING_BYTES:
            self._container, self._read_bytes = _mapped(self._path), 0
        return self._container


def check_finite(name: str, tensor: torch.Tensor) -> None:
    """Nothing, when a tensor can become codes.

    Raises:
        InvalidInputError: It holds NaN or infinity.
    """
    if not tensor.isfinite().all():
        raise InvalidInputError(
            f"Tensor {name!r} has NaN or infinite weights.",
            advice="Push a model whose weights are all finite.",
        )


def check_no_nan(name: str, tensor: torch.Tensor) -> None:
    """Nothing, when a tensor that stays float may be sent; a mask may well hold minus infinity.

    Raises:
        InvalidInputError: It holds NaN.
    """
    if tensor.is_floating_point() and tensor.isnan().any():
        raise InvalidInputError(
            f"Tensor {name!r} has NaN values.", advice="Push a model whose weights are all finite."
        )


def _mapped(path: Path) -> Any:
    try:
        return safetensors.safe_open(path, framework="pt")
    except safetensors.SafetensorError as error:
        raise InvalidInputError(f"The weights are no safetensors file: {error}.") from error
