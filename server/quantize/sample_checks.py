"""What samples must be for what they are used for: the self-test, calibration, the fidelity report.

Client and server ask the same questions, the one before it sends and the other before it works.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from common.errors import InvalidInputError
from common.graph.inputs import check_inputs
from common.graph.model import Graph
from common.self_test import MAX_SAMPLES as MAX_ACCEPTANCE_SAMPLES
from server.quantize.samples import Samples

MAX_CALIBRATION_SAMPLES: Final = 512
MAX_EVALUATION_SAMPLES: Final = 10_000
_SAMPLES_AT_ONCE: Final = 64


def check_samples(
    graph: Graph, samples: Samples, *, calibration: Samples | None = None, evaluation: Samples | None = None
) -> None:
    """Nothing, when all samples of a push are what they are needed for.

    Raises:
        InvalidInputError: Some are not.
    """
    check_self_test(graph, samples)
    if calibration is not None:
        check_calibration(graph, calibration)
    if evaluation is not None:
        check_evaluation(graph, evaluation)


def check_self_test(graph: Graph, samples: Samples) -> None:
    """Nothing, when a self-test can be made of the samples.

    Without labels there may be any number; the first are taken.

    Raises:
        InvalidInputError: They are not what the graph takes, or an acceptance test has too many.
    """
    _check_fit(graph, samples, "self-test samples")
    if samples.labels is not None:
        _check_count("acceptance samples", samples.count, MAX_ACCEPTANCE_SAMPLES)


def check_calibration(graph: Graph, samples: Samples) -> None:
    """Nothing, when weights can be rounded by what the model does with the samples.

    Raises:
        InvalidInputError: They are not what the graph takes, too many, not finite, or have labels.
    """
    what = "calibration samples"
    if samples.labels is not None:
        raise InvalidInputError("The calibration samples have labels.", advice="Give them without.")
    _check_count(what, samples.count, MAX_CALIBRATION_SAMPLES)
    _check_fit(graph, samples, what)
    _check_finite(graph, samples, what)


def check_evaluation(graph: Graph, samples: Samples) -> None:
    """Nothing, when top-1 can be measured with the samples.

    Raises:
        InvalidInputError: They are not what the graph takes, too many or not finite, or a label is missing
            or no class.
    """
    what = "evaluation samples"
    if samples.labels is None:
        raise InvalidInputError("The evaluation samples have no labels.", advice="Give one class per sample.")
    _check_count(what, samples.count, MAX_EVALUATION_SAMPLES)
    _check_fit(graph, samples, what)
    _check_finite(graph, samples, what)
    if (samples.labels < 0).any():
        index = int((samples.labels < 0).argmax())
        raise InvalidInputError(
            f"Label {index} of the evaluation samples is {samples.labels[index]}.",
            advice="Classes count from 0.",
        )


def _check_fit(graph: Graph, samples: Samples, what: str) -> None:
    names = [item.name for item in graph.inputs]
    if len(samples.inputs) != len(names):
        raise InvalidInputError(
            f"The model takes the inputs {names}, and the {what} have {len(samples.inputs)} arrays."
        )
    try:
        check_inputs(graph, dict(zip(names, samples.inputs, strict=True)))
    except InvalidInputError as error:
        raise InvalidInputError(f"The {what} do not fit the model: {error}") from error


def _check_count(what: str, count: int, allowed: int) -> None:
    if count > allowed:
        raise InvalidInputError(
            f"There are {count} {what} and {allowed} are allowed.",
            advice="Choose samples that stand for the others.",
        )


def _check_finite(graph: Graph, samples: Samples, what: str) -> None:
    for item, array in zip(graph.inputs, samples.inputs, strict=True):
        index = _first_not_finite(array)
        if index is not None:
            raise InvalidInputError(
                f"Sample {index} of the {what} has NaN or infinity in input {item.name!r}.",
                advice="Leave it out, or mend what makes it.",
            )


def _first_not_finite(array: NDArray[Any]) -> int | None:
    """The first index on axis 0 with a value that is none; a few at a time, to spare memory."""
    if array.dtype.kind != "f":
        return None
    for start in range(0, len(array), _SAMPLES_AT_ONCE):
        some = array[start : start + _SAMPLES_AT_ONCE]
        sound = np.isfinite(some).reshape(len(some), -1).all(axis=1)
        if not sound.all():
            return start + int(sound.argmin())
    return None
