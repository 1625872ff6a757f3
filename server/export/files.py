"""A saved export: ``graph.json.zst``, ``weights.safetensors`` and ``inputs.safetensors`` in one folder."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import safetensors
import safetensors.torch
import torch

from common.errors import InvalidInputError, NotFoundError
from common.files import write_atomically
from common.graph.check import check_states
from common.graph.codec import from_zstd, to_zstd
from common.graph.ops import check_ops
from server.export.exported import Exported

GRAPH_FILE: Final = "graph.json.zst"
WEIGHTS_FILE: Final = "weights.safetensors"
INPUTS_FILE: Final = "inputs.safetensors"


def save_exported(exported: Exported, folder: Path) -> None:
    """Write an export; the folder is made, files in it of these names are replaced."""
    folder.mkdir(parents=True, exist_ok=True)
    inputs = {f"input/{index}": tensor.contiguous() for index, tensor in enumerate(exported.inputs)}
    safetensors.torch.save_file(exported.states, folder / WEIGHTS_FILE)
    safetensors.torch.save_file(inputs, folder / INPUTS_FILE)
    write_atomically(folder / GRAPH_FILE, to_zstd(exported.graph))


def load_exported(folder: Path) -> Exported:
    """Read an export; nothing in it is executed.

    Raises:
        NotFoundError: A file is missing.
        InvalidInputError: A file is damaged, or graph and tensors contradict each other.
    """
    for name in (GRAPH_FILE, WEIGHTS_FILE, INPUTS_FILE):
        if not (folder / name).is_file():
            raise NotFoundError(
                f"{folder} holds no {name}.",
                advice="Write it with: nestfleet export module:function --out DIR",
            )
    graph = from_zstd((folder / GRAPH_FILE).read_bytes())
    check_ops(graph)
    states = _load(folder / WEIGHTS_FILE)
    check_states(graph, {name: (_dtype_name(tensor), tuple(tensor.shape)) for name, tensor in states.items()})
    inputs = _load(folder / INPUTS_FILE)
    if set(inputs) != {f"input/{index}" for index in range(len(graph.inputs))}:
        raise InvalidInputError(f"{folder / INPUTS_FILE} does not hold the graph's inputs.")
    return Exported(graph, states, tuple(inputs[f"input/{index}"] for index in range(len(inputs))))


def _load(path: Path) -> dict[str, torch.Tensor]:
    try:
        tensors: dict[str, torch.Tensor] = safetensors.torch.load_file(path)
    except (safetensors.SafetensorError, OSError, ValueError, KeyError) as error:
        raise InvalidInputError(f"{path} is no safetensors file: {error}.") from error
    return tensors


def _dtype_name(tensor: torch.Tensor) -> str:
    return str(tensor.dtype).removeprefix("torch.")
