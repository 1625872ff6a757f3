"""Whether the rows of a model's batch leave each other alone: found out once, before strangers share one.

A graph may mix rows: a mean over the batch, a softmax along the wrong axis. Then what one client sends would
change what another gets. So the first two requests that could run together are answered one by one, and run
together besides; they share batches from then on if that gave the same.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from enum import Enum
from typing import Any, Final
from weakref import WeakKeyDictionary, WeakSet

import numpy as np
from numpy.typing import NDArray

from device_agent.inference.answering import Answer, AnsweringModel
from device_agent.serving.queueing.batch import Inputs

# Kernels add up in another order for another batch; a mean over rows changes far more than that.
_RELATIVE: Final = 2e-3
_TRIALS: Final = 3
_log = logging.getLogger(__name__)


class Verdict(Enum):
    """What is known of a model."""

    OPEN = "open"
    APART = "apart"
    MIXED = "mixed"


class Trials:
    """What was found out; for one thread. A version that is replaced is forgotten."""

    def __init__(self) -> None:
        self._failed: WeakKeyDictionary[AnsweringModel, int] = WeakKeyDictionary()
        self._apart: WeakSet[AnsweringModel] = WeakSet()

    def verdict(self, model: AnsweringModel) -> Verdict:
        """Whether its requests may share a batch, may not, or nobody knows yet."""
        if model in self._apart:
            return Verdict.APART
        return Verdict.MIXED if self._failed.get(model, 0) >= _TRIALS else Verdict.OPEN

    def judge(
        self,
        model: AnsweringModel,
        requests: Sequence[Inputs],
        alone: Sequence[Answer],
        together: Sequence[Answer] | None,
    ) -> None:
        """Learn from requests that were answered both ways.

        One failure may come from blocks that changed their level in between, so it takes three.

        Args:
            model: What answered.
            requests: At least two.
            alone: Answers to each by itself.
            together: Answers from a batch of them; None where it had none for each.
        """
        if together is not None and _alike(requests):
            return
        if together is not None and all(map(_close, alone, together)):
            self._apart.add(model)
            return
        self._failed[model] = self._failed.get(model, 0) + 1
        if self._failed[model] == _TRIALS:
            _log.warning("%s:%d mixes rows of a batch; its requests run alone", model.name, model.version)


def _alike(requests: Sequence[Inputs]) -> bool:
    """Whether all ask the same, which says nothing about rows."""
    first = requests[0]
    return all(np.array_equal(first[name], other[name]) for other in requests[1:] for name in first)


def _close(one: Answer, other: Answer) -> bool:
    return all(_near(array, other.outputs[name]) for name, array in one.outputs.items())


def _near(one: NDArray[Any], other: NDArray[Any]) -> bool:
    if one.dtype.kind != "f":
        return np.array_equal(one, other)
    largest = float(np.abs(one[np.isfinite(one)]).max(initial=0.0))
    return np.allclose(one, other, rtol=_RELATIVE, atol=_RELATIVE * largest, equal_nan=True)
