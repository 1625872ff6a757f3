"""The model as ONNX Runtime takes it: as it is exported, and quantized by the runtime's own tool."""

from __future__ import annotations

import contextlib
import io
import logging
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import onnxruntime
import torch
from numpy.typing import NDArray
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
from onnxruntime.quantization.shape_inference import quant_pre_process

from benchmarks.inference.files.floats import Floats
from benchmarks.inference.files.kept import digest_of, kept
from benchmarks.inference.files.layout import FLOAT_ONNX_FILE, INT8_ONNX_FILE
from benchmarks.inference.nets.net import Net

_LIBRARIES: Final = ("torch", "onnx", "onnxruntime")


def make_onnx(floats: Floats) -> Path:
    """A folder with both, made where it is not there."""
    digest = digest_of(["benchmarks/inference/files/onnx_files.py"], _LIBRARIES)
    return kept(
        "onnx", floats.name, f"{floats.digest[:6]}{digest[:6]}", lambda folder: _write(floats.net(), folder)
    )


def _write(net: Net, folder: Path) -> None:
    prepared = folder / "prepared.onnx"
    with _quiet():
        _export(net, folder / FLOAT_ONNX_FILE)
        quant_pre_process(folder / FLOAT_ONNX_FILE, prepared)
        quantize_static(
            prepared,
            folder / INT8_ONNX_FILE,
            _Reader(net),
            quant_format=QuantFormat.QDQ,
            per_channel=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
        )
    prepared.unlink()


def _export(net: Net, file: Path) -> None:
    names = list(net.inputs)
    torch.onnx.export(
        _ByOrder(net.module, names).eval(),
        tuple(tensor[:2] for tensor in net.inputs.values()),
        file,
        dynamo=False,
        input_names=names,
        dynamic_axes={name: {0: "batch"} for name in names},
    )


class _ByOrder(torch.nn.Module):
    """A model that takes its inputs by order, as the tracer wants it, and yields a tuple."""

    def __init__(self, module: torch.nn.Module, names: list[str]) -> None:
        super().__init__()
        self.module = module
        self._names = names

    def forward(self, *inputs: torch.Tensor) -> Any:
        """All outputs of the model."""
        return self.module(**dict(zip(self._names, inputs, strict=True))).to_tuple()


class _Reader(CalibrationDataReader):  # type: ignore[misc]  # the library has no types
    """Hands out the calibration samples, one by one."""

    def __init__(self, net: Net) -> None:
        self._left = _samples(net)

    def get_next(self) -> dict[str, NDArray[Any]] | None:
        """The next one; None after the last."""
        return next(self._left, None)


def _samples(net: Net) -> Iterator[dict[str, NDArray[Any]]]:
    for at in range(len(next(iter(net.calibration.values())))):
        yield {name: tensor[at : at + 1].numpy() for name, tensor in net.calibration.items()}


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Without what exporter and quantizer say of themselves."""
    logging.disable(logging.WARNING)
    onnxruntime.set_default_logger_severity(3)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(logging.NOTSET)
        onnxruntime.set_default_logger_severity(2)
