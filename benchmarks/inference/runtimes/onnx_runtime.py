"""ONNX Runtime on its CPU provider, with all its defaults but for the number of threads."""

from __future__ import annotations

from typing import Any

import onnxruntime
from numpy.typing import NDArray

from benchmarks.inference.files.layout import FLOAT_ONNX_FILE, INT8_ONNX_FILE, Files
from benchmarks.inference.runtimes.runtime import Infer


class OnnxRuntime:
    """One session.

    Args:
        threads: Of an operator.
        quantized: Whether it runs the quantized file.
    """

    def __init__(self, threads: int, *, quantized: bool) -> None:
        self._options = onnxruntime.SessionOptions()
        self._options.intra_op_num_threads = threads
        self._file = INT8_ONNX_FILE if quantized else FLOAT_ONNX_FILE

    def load(self, files: Files, level: int | None) -> Infer:
        """As ``Runtime``."""
        assert level is None
        session = onnxruntime.InferenceSession(
            files.onnx / self._file, self._options, providers=["CPUExecutionProvider"]
        )
        (first, *_) = (output.name for output in session.get_outputs())

        def infer(inputs: dict[str, NDArray[Any]]) -> NDArray[Any]:
            (output,) = session.run([first], inputs)
            array: NDArray[Any] = output
            return array

        return infer
