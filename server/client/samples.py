"""The samples part of a push: self-test inputs in the graph's order and types, and acceptance labels."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.numpy
from numpy.typing import NDArray

from common.errors import InvalidInputError
from common.graph.inputs import check_inputs
from common.graph.model import Graph, Input
from common.self_test import MAX_SAMPLES
from server.client.publication import Acceptance, Arrays


def write_samples(path: Path, graph: Graph, examples: Arrays, acceptance: Acceptance | None) -> None:
    """Write the safetensors file with ``input/N`` and, for an acceptance test, ``labels``.

    Args:
        path: Where to.
        graph: Says which inputs there are.
        examples: The example inputs; the first of them that a self-test may have, where nothing is accepted.
        acceptance: Taken whole, or refused.

    Raises:
        InvalidInputError: The arrays are not what the graph takes, or more than a self-test may have.
    """
    given = _by_name(graph, acceptance.inputs if acceptance else examples)
    inputs = check_inputs(graph, {item.name: _cast(item, given[item.name]) for item in graph.inputs})
    if acceptance:
        _check_count(len(acceptance.labels), len(inputs[0]))
    arrays = {f"input/{index}": array[:MAX_SAMPLES] for index, array in enumerate(inputs)}
    if acceptance:
        arrays["labels"] = acceptance.labels
    safetensors.numpy.save_file({name: np.ascontiguousarray(array) for name, array in arrays.items()}, path)


def _by_name(graph: Graph, arrays: Arrays) -> dict[str, NDArray[Any]]:
    """Arrays under the names of the graph's inputs; a single one fits a single input under any name."""
    names = [item.name for item in graph.inputs]
    arrays = [arrays] if hasattr(arrays, "shape") else arrays
    fits = set(arrays) == set(names) if isinstance(arrays, Mapping) else len(arrays) == len(names)
    if isinstance(arrays, Mapping) and not fits and len(arrays) == len(names) == 1:
        arrays, fits = list(arrays.values()), True
    if not fits:
        given = sorted(arrays) if isinstance(arrays, Mapping) else f"{len(arrays)} arrays"
        raise InvalidInputError(f"The model takes the inputs {names}, not {given}.")
    ordered = [arrays[name] for name in names] if isinstance(arrays, Mapping) else arrays
    return {name: _array(value) for name, value in zip(names, ordered, strict=True)}


def _array(value: Any) -> NDArray[Any]:
    """A torch tensor or anything that numpy takes, as an array; torch itself need not be there for that."""
    return np.asarray(value.detach().cpu() if hasattr(value, "detach") else value)


def _cast(item: Input, array: NDArray[Any]) -> NDArray[Any]:
    """The array in the input's type, unless that turns floats into integers, or numbers into truth values."""
    wanted = np.dtype(item.dtype)
    return array.astype(wanted) if np.can_cast(array.dtype, wanted, casting="same_kind") else array


def _check_count(labels: int, samples: int) -> None:
    if labels != samples:
        raise InvalidInputError(f"The acceptance test has {labels} labels for {samples} samples.")
    if samples > MAX_SAMPLES:
        raise InvalidInputError(
            f"The acceptance test has {samples} samples; a self-test has at most {MAX_SAMPLES}.",
            advice="Choose samples that stand for the others.",
        )
