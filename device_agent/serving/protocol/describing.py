"""What the agent says of itself and of its models, as JSON; protobuf's JSON form reads the same trees."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from importlib.metadata import PackageNotFoundError, version
from typing import Any, Final

from device_agent.inference.answering import AnsweringModel, TensorSpec
from device_agent.serving.protocol.datatypes import datatype_of
from device_agent.serving.protocol.limits import MAX_ROWS

PLATFORM: Final = "nestfleet"
# As Triton calls them.
EXTENSIONS: Final = ("binary_tensor_data", "model_configuration", "model_repository", "statistics")


def describe_server() -> dict[str, Any]:
    """The agent's metadata."""
    return {"name": "nestfleet-agent", "version": _package_version(), "extensions": list(EXTENSIONS)}


def describe_model(model: AnsweringModel) -> dict[str, Any]:
    """A model's metadata; -1 stands for the batch."""
    return {
        "name": model.name,
        "versions": [str(model.version)],
        "platform": PLATFORM,
        "inputs": [_tensor(spec) for spec in model.inputs],
        "outputs": [_tensor(spec) for spec in model.outputs],
    }


def describe_config(model: AnsweringModel) -> dict[str, Any]:
    """A model's configuration in Triton's form: where the batch is open, dimensions are told without it."""
    is_open = has_open_batch(model)
    return {
        "name": model.name,
        "platform": PLATFORM,
        "backend": PLATFORM,
        "max_batch_size": MAX_ROWS if is_open else 0,
        "input": [_config(spec, is_open=is_open) for spec in model.inputs],
        "output": [_config(spec, is_open=is_open) for spec in model.outputs],
    }


def describe_index(models: Iterable[AnsweringModel]) -> list[dict[str, str]]:
    """The models that answer."""
    return [
        {"name": model.name, "version": str(model.version), "state": "READY", "reason": ""}
        for model in sorted(models, key=lambda model: model.name)
    ]


def has_open_batch(model: AnsweringModel) -> bool:
    """Whether axis 0 of everything that goes in and comes out is the batch, and any size will do."""
    return all(spec.shape and spec.shape[0] is None for spec in (*model.inputs, *model.outputs))


def _tensor(spec: TensorSpec) -> dict[str, Any]:
    return {"name": spec.name, "datatype": _datatype(spec), "shape": _sizes(spec.shape)}


def _config(spec: TensorSpec, *, is_open: bool) -> dict[str, Any]:
    datatype = f"TYPE_{_datatype(spec)}" if spec.dtype is not None else "TYPE_INVALID"
    return {
        "name": spec.name,
        "data_type": datatype,
        "dims": _sizes(spec.shape[1:] if is_open else spec.shape),
    }


def _datatype(spec: TensorSpec) -> str:
    return datatype_of(spec.dtype) if spec.dtype is not None else ""


def _sizes(shape: Sequence[int | None]) -> list[int]:
    return [-1 if size is None else size for size in shape]


def _package_version() -> str:
    try:
        return version("nestfleet")
    except PackageNotFoundError:
        return "unknown"
