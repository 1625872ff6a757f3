"""The float weights of a push, read from disk a few rows at a time."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
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


class WeightsFile:
    """A safetensors file; rows come from disk when asked for and are not kept."""

    def __init__(self, container: Any) -> None:
        self._container = container
        self.names = frozenset(container.keys())

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
        rows: torch.Tensor = self._container.get_slice(name)[start:stop]
        return rows

    def whole(self, name: str) -> torch.Tensor:
        """A tensor in its own type and shape."""
        tensor: torch.Tensor = self._container.get_tensor(name)
        return tensor


@contextlib.contextmanager
def open_weights(path: Path) -> Iterator[WeightsFile]:
    """A weights file, open for as long as the context lasts.

    Raises:
        InvalidInputError: The file is no safetensors container.
    """
    try:
        container = safetensors.safe_open(path, framework="pt")
    except safetensors.SafetensorError as error:
        raise InvalidInputError(f"The weights are no safetensors file: {error}.") from error
    with container:
        yield WeightsFile(container)
