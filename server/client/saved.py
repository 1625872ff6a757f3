"""A folder that ``nestfleet export`` wrote, read as far as a push needs it: the weights stay on disk."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors
import safetensors.numpy
from numpy.typing import NDArray

from common.errors import InvalidInputError, NotFoundError
from common.graph import codec
from common.graph.model import Graph
from server.export.files import GRAPH_FILE, INPUTS_FILE, WEIGHTS_FILE

_ADVICE = "Write the folder with: nestfleet export MODULE:FUNCTION --out FOLDER"


@dataclass(frozen=True, slots=True, eq=False)
class SavedModel:
    """What a folder holds.

    Attributes:
        graph: The computation.
        graph_file, weights_file: As they are sent.
        inputs: The example inputs in the graph's order.
    """

    graph: Graph
    graph_file: Path
    weights_file: Path
    inputs: tuple[NDArray[Any], ...]


def read_saved(folder: Path) -> SavedModel:
    """The saved model in a folder.

    Raises:
        NotFoundError: A file is missing.
        InvalidInputError: Graph or inputs cannot be read.
    """
    for name in (GRAPH_FILE, WEIGHTS_FILE, INPUTS_FILE):
        if not (folder / name).is_file():
            raise NotFoundError(f"{folder} holds no {name}.", advice=_ADVICE)
    try:
        graph = codec.from_zstd((folder / GRAPH_FILE).read_bytes())
        arrays: dict[str, NDArray[Any]] = safetensors.numpy.load_file(folder / INPUTS_FILE)
        inputs = tuple(arrays[f"input/{index}"] for index in range(len(graph.inputs)))
    except OSError as error:
        raise InvalidInputError(f"{folder} cannot be read: {error.strerror}.") from error
    except (safetensors.SafetensorError, ValueError, KeyError) as error:
        raise InvalidInputError(f"{folder / INPUTS_FILE} is damaged: {error}.", advice=_ADVICE) from error
    return SavedModel(graph, folder / GRAPH_FILE, folder / WEIGHTS_FILE, inputs)
