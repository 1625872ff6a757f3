"""The sample parts of a push: inputs in the graph's order and types, and labels."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import safetensors.numpy
from numpy.typing import NDArray

from common.errors import InvalidInputError
from common.graph.model import Graph, Input
from common.self_test import MAX_SAMPLES
from server.client.publication import Acceptance, Arrays, Labelled, Publication
from server.quantize.sample_checks import check_calibration, check_evaluation, check_self_test
from server.quantize.samples import Samples


class SampleFiles(NamedTuple):
    """Safetensors files with ``input/N`` and, where there are labels, ``labels``. None: nothing was given."""

    samples: Path
    calibration: Path | None
    evaluation: Path | None


def write_sample_files(folder: Path, graph: Graph, examples: Arrays, publication: Publication) -> SampleFiles:
    """Write all samples of a publication.

    Args:
        folder: Where to.
        graph: Says which inputs there are.
        examples: The example inputs; the first of them that a self-test may have, where nothing is accepted.
        publication: Its samples are taken whole, or refused.

    Raises:
        InvalidInputError: The arrays are not what the graph takes, or break a rule of ``sample_checks``.
    """
    calibration = evaluation = None
    samples = _self_test(graph, examples, publication.acceptance)
    check_self_test(graph, samples)
    if publication.calibration is not None:
        given = _without_labels(graph, publication.calibration, "calibration samples")
        check_calibration(graph, given)
        calibration = _write(folder / "calibration", given)
    if publication.evaluation is not None:
        given = _with_labels(graph, publication.evaluation)
        check_evaluation(graph, given)
        evaluation = _write(folder / "evaluation", given)
    return SampleFiles(_write(folder / "samples", samples), calibration, evaluation)


def _self_test(graph: Graph, examples: Arrays, acceptance: Acceptance | None) -> Samples:
    if acceptance is not None:
        return _with_labels(graph, acceptance)
    every = _without_labels(graph, examples, "example inputs")
    return Samples(tuple(array[:MAX_SAMPLES] for array in every.inputs))


def _with_labels(graph: Graph, given: Labelled) -> Samples:
    what = f"{type(given).__name__.lower()} samples"
    unlabelled = _without_labels(graph, given.inputs, what)
    if unlabelled.count != len(given.labels):
        raise InvalidInputError(f"There are {len(given.labels)} labels for {unlabelled.count} {what}.")
    return Samples(unlabelled.inputs, given.labels, what)


def _without_labels(graph: Graph, arrays: Arrays, what: str) -> Samples:
    """Arrays in the graph's order and types; a single one fits a single input under any name."""
    names = [item.name for item in graph.inputs]
    arrays = [arrays] if hasattr(arrays, "shape") else arrays
    fits = set(arrays) == set(names) if isinstance(arrays, Mapping) else len(arrays) == len(names)
    if isinstance(arrays, Mapping) and not fits and len(arrays) == len(names) == 1:
        arrays, fits = list(arrays.values()), True
    if not fits:
        given = sorted(arrays) if isinstance(arrays, Mapping) else f"{len(arrays)} arrays"
        raise InvalidInputError(f"The model takes the inputs {names}, and the {what} have {given}.")
    ordered = [arrays[name] for name in names] if isinstance(arrays, Mapping) else arrays
    inputs = (_cast(item, _array(value)) for item, value in zip(graph.inputs, ordered, strict=True))
    return Samples(tuple(inputs), what=what)


def _array(value: Any) -> NDArray[Any]:
    """A torch tensor or anything that numpy takes, as an array; torch itself need not be there for that."""
    return np.asarray(value.detach().cpu() if hasattr(value, "detach") else value)


def _cast(item: Input, array: NDArray[Any]) -> NDArray[Any]:
    """The array in the input's type, unless that turns floats into integers, or numbers into truth values."""
    wanted = np.dtype(item.dtype)
    if not np.can_cast(array.dtype, wanted, casting="same_kind"):
        return array
    with np.errstate(over="ignore"):  # becomes an infinity, which the checks name
        return array.astype(wanted, copy=False)


def _write(path: Path, samples: Samples) -> Path:
    arrays = {f"input/{index}": array for index, array in enumerate(samples.inputs)}
    if samples.labels is not None:
        arrays["labels"] = samples.labels
    safetensors.numpy.save_file({name: np.ascontiguousarray(array) for name, array in arrays.items()}, path)
    return path
