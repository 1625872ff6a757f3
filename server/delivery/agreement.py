"""Whether the weights that a push brought are the tensors that its graph names."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from safetensors import SafetensorError, safe_open

from common.errors import InvalidInputError
from common.graph.check import check_states
from common.graph.model import Graph

_DTYPES: Final = {
    "F16": "float16",
    "BF16": "bfloat16",
    "F32": "float32",
    "F64": "float64",
    "BOOL": "bool",
    "U8": "uint8",
    "I8": "int8",
    "I16": "int16",
    "I32": "int32",
    "I64": "int64",
}


def check_weights(graph: Graph, weights: Path) -> None:
    """Nothing, when the file holds exactly the graph's states. Reads the file's header alone.

    Raises:
        InvalidInputError: It is no safetensors file, or a tensor is missing, superfluous or another.
    """
    check_states(graph, _tensors(weights))


def _tensors(path: Path) -> dict[str, tuple[str, tuple[int, ...]]]:
    try:
        with safe_open(path, framework="numpy") as file:
            views = {name: file.get_slice(name) for name in file.keys()}  # noqa: SIM118  # not a mapping
            return {
                name: (_DTYPES.get(view.get_dtype(), view.get_dtype()), tuple(view.get_shape()))
                for name, view in views.items()
            }
    except SafetensorError as error:
        raise InvalidInputError(f"The push's weights are no safetensors file: {error}.") from error
