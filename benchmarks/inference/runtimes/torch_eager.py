"""The float model in torch, as it comes: 32 bits, eager, in inference mode."""

from __future__ import annotations

from typing import Any

import torch
from numpy.typing import NDArray

from benchmarks.inference.files.floats import architecture
from benchmarks.inference.files.layout import Files
from benchmarks.inference.runtimes.runtime import Infer


class TorchEager:
    """Idle it has torch imported, and the transformers library as far as the architecture takes it.

    Args:
        threads: Of an operator.
        files: Of the model that will be loaded.
    """

    def __init__(self, threads: int, files: Files) -> None:
        torch.set_num_threads(threads)
        self._architecture = architecture(files.floats)

    def load(self, files: Files, level: int | None) -> Infer:
        """As ``Runtime``."""
        assert level is None
        module = self._architecture.from_pretrained(files.floats).eval()

        def infer(inputs: dict[str, NDArray[Any]]) -> NDArray[Any]:
            with torch.inference_mode():
                outputs = module(**{name: torch.from_numpy(array) for name, array in inputs.items()})
                first: NDArray[Any] = outputs[0].numpy()
                return first

        return infer
