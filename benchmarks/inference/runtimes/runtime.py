"""What every runtime is to the benchmark."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol, TypeAlias

from numpy.typing import NDArray

from benchmarks.inference.files.layout import Files

# From the inputs by name to the first output.
Infer: TypeAlias = Callable[[dict[str, NDArray[Any]]], NDArray[Any]]


class Runtime(Protocol):
    """A runtime whose library is imported, with nothing loaded; its threads are set."""

    def load(self, files: Files, level: int | None) -> Infer:
        """The model, ready to answer.

        Args:
            files: Where it is.
            level: Bits of all weights, for the runtime that has levels.
        """
        ...
