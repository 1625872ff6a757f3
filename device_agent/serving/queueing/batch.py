"""Several requests as one batch, and its answer as theirs. Pure."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from itertools import accumulate, pairwise
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from device_agent.inference.answering import Answer, AnsweringModel
from device_agent.serving.protocol.describing import has_open_batch

Inputs: TypeAlias = "Mapping[str, NDArray[Any]]"


def count_rows(inputs: Inputs) -> int:
    """Rows of a request: size of axis 0, which a sound request has the same in all inputs."""
    return max((len(array) for array in inputs.values()), default=0)


def kind_of(model: AnsweringModel, inputs: Inputs) -> Hashable | None:
    """Equal for requests that differ along axis 0 alone; None where a request has to run by itself.

    That is where the graph fixes the batch, or the inputs disagree about it.
    """
    if not has_open_batch(model) or len({len(array) for array in inputs.values()}) != 1:
        return None
    return tuple(sorted((name, array.dtype.str, array.shape[1:]) for name, array in inputs.items()))


def join(requests: Sequence[Inputs]) -> Inputs:
    """The inputs of requests of one kind, one behind the other."""
    return {name: np.concatenate([inputs[name] for inputs in requests]) for name in requests[0]}


def split(answer: Answer, rows: Sequence[int]) -> list[Answer] | None:
    """An answer to joined requests, apart again; None where an output has other rows than they had.

    Args:
        answer: To all of them.
        rows: Of each.
    """
    if any(array.ndim == 0 or len(array) != sum(rows) for array in answer.outputs.values()):
        return None
    cuts = pairwise(accumulate(rows, initial=0))
    return [
        Answer({name: array[start:stop] for name, array in answer.outputs.items()}, answer.level)
        for start, stop in cuts
    ]
