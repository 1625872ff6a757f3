"""The way through ``torch.export`` to Core ATen, composite operators kept where they have a fast kernel."""

from __future__ import annotations

import contextlib
import io
import logging
import warnings
from collections.abc import Iterator
from dataclasses import replace
from typing import Any, Final

import torch
from torch import nn
from torch.export import Dim, ExportedProgram, default_decompositions, export

from common.errors import InvalidInputError, UnsupportedModelError
from server.export.examples import Examples

# A batch of one would be taken for a constant.
_LEAST_BATCH: Final = 2
_PREFIX: Final = "model"
_KEPT: Final = frozenset(
    {
        "_upsample_nearest_exact2d",
        "adaptive_avg_pool1d",
        "adaptive_avg_pool2d",
        "adaptive_avg_pool3d",
        "adaptive_max_pool2d",
        "avg_pool1d",
        "batch_norm",
        "bilinear",
        "celu",
        "channel_shuffle",
        "elu",
        "embedding",
        "gelu",
        "glu",
        "grid_sampler",
        "group_norm",
        "hardsigmoid",
        "hardswish",
        "hardtanh",
        "instance_norm",
        "layer_norm",
        "leaky_relu",
        "linear",
        "log_sigmoid",
        "log_softmax",
        "matmul",
        "max_pool1d",
        "max_pool2d",
        "max_pool3d",
        "mish",
        "pixel_shuffle",
        "pixel_unshuffle",
        "prelu",
        "reflection_pad1d",
        "reflection_pad2d",
        "reflection_pad3d",
        "relu6",
        "replication_pad1d",
        "replication_pad2d",
        "replication_pad3d",
        "rms_norm",
        "scaled_dot_product_attention",
        "selu",
        "silu",
        "softmax",
        "softplus",
        "upsample_bicubic2d",
        "upsample_bilinear2d",
        "upsample_linear1d",
        "upsample_nearest1d",
        "upsample_nearest2d",
        "upsample_nearest3d",
        "upsample_trilinear3d",
    }
)


@contextlib.contextmanager
def quiet_eval(model: nn.Module) -> Iterator[None]:
    """The model in evaluation mode, without gradients and fused training paths; as it was afterwards."""
    modes = {module: module.training for module in model.modules()}
    fast_path = torch.backends.mha.get_fastpath_enabled()
    model.eval()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with torch.no_grad(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        torch.backends.mha.set_fastpath_enabled(fast_path)
        for module, training in modes.items():
            module.training = training


@contextlib.contextmanager
def _quiet_torch() -> Iterator[None]:
    """What torch logs and prints of a model that it cannot follow is told, shorter, by the error instead."""
    names = ("torch", *(name for name in logging.root.manager.loggerDict if name.startswith("torch.")))
    loggers = [logger for logger in map(logging.getLogger, names) if logger.handlers]
    kept = [logger.handlers for logger in loggers]
    for logger in loggers:
        logger.handlers = [logging.NullHandler()]
    try:
        with contextlib.redirect_stderr(io.StringIO()):
            yield
    finally:
        for logger, handlers in zip(loggers, kept, strict=True):
            logger.handlers = handlers


def call(model: nn.Module, examples: Examples) -> Any:
    """The model's own answer.

    Raises:
        InvalidInputError: It fails on these inputs.
    """
    try:
        return model(*examples.args, **examples.kwargs)
    except Exception as error:  # a model's forward may raise anything
        raise InvalidInputError(
            f"The model fails on its example inputs: {_first_line(error)}",
            advice="Call model.eval()(…) with the same inputs, and correct what it reports.",
        ) from error


def trace(model: nn.Module, examples: Examples) -> ExportedProgram:
    """The model as a functional program over Core ATen, with an open batch size.

    Raises:
        UnsupportedModelError: ``torch.export`` cannot follow the model, or the model fixes its batch size.
    """
    if examples.batch < _LEAST_BATCH:
        examples = examples.resized(_LEAST_BATCH)
    shapes = (tuple({0: Dim.AUTO} for _ in examples.tensors),)
    try:
        with _quiet_torch():
            program = export(
                _ByPosition(model, examples), examples.tensors, dynamic_shapes=shapes, strict=False
            )
            lowered: ExportedProgram = program.run_decompositions(_decompositions())
    except Exception as error:  # torch.export raises what tracing the model's code raises
        raise UnsupportedModelError(
            f"torch.export cannot follow the model: {_first_line(error)}",
            advice="Take data-dependent branches and conversions to Python numbers out of forward.",
        ) from error
    return lowered


class _ByPosition(nn.Module):
    """The model with all inputs by position: ``torch.export`` mixes up open shapes of keyword arguments."""

    def __init__(self, model: nn.Module, examples: Examples) -> None:
        super().__init__()
        self.model = model
        self._examples = examples

    def forward(self, *tensors: torch.Tensor) -> Any:
        call = replace(self._examples, tensors=tensors)
        return self.model(*call.args, **call.kwargs)


def model_path(path: str) -> str:
    """Path of a module or tensor in the model, from that in the traced program."""
    return "" if path == _PREFIX else path.removeprefix(f"{_PREFIX}.")


def _decompositions() -> dict[Any, Any]:
    table: dict[Any, Any] = default_decompositions()
    return {op: how for op, how in table.items() if op.overloadpacket.__name__ not in _KEPT}


def _first_line(error: Exception) -> str:
    text = str(error).strip() or type(error).__name__
    return text.partition("\n")[0][:300]
