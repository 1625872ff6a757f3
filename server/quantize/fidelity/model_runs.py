"""Runs the model on samples, a batch at a time."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray

from common.graph.build import StateSource, build
from common.graph.model import Graph
from server.quantize.fidelity.answers import Answers, read_answers
from server.quantize.samples import Samples

MAX_BATCH_ROWS: Final = 32
MAX_BATCH_BYTES: Final = 64 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Batch:
    """Samples ``start`` to ``stop``."""

    start: int
    stop: int


class ModelRuns:
    """A graph with the samples that it is measured on; holds no weights."""

    def __init__(self, graph: Graph, samples: Samples) -> None:
        self._runner = build(graph)
        self._outputs = graph.outputs
        self._samples = samples

    def answers(self, source: StateSource, batch: Batch, *, where: str) -> Answers:
        """What the model answers to a batch.

        Args:
            source: Its weights.
            batch: Which samples.
            where: What runs, for messages, e.g. "at 4 bits".

        Raises:
            InvalidInputError: An output is NaN.
        """
        inputs = (array[batch.start : batch.stop] for array in self._samples.inputs)
        tensors = [torch.from_numpy(np.require(array, requirements=["C", "W"])) for array in inputs]
        outputs = self._runner(source, *tensors)
        return read_answers(self._outputs, outputs, batch.stop - batch.start, where=where)

    def labels(self, batch: Batch) -> NDArray[np.int64] | None:
        """The batch's labels, where there are any."""
        labels = self._samples.labels
        return None if labels is None else labels[batch.start : batch.stop]

    def batches(self, rows: int) -> Iterator[Batch]:
        """All samples, so many at a time."""
        count = self._samples.count
        return (Batch(start, min(start + rows, count)) for start in range(0, count, rows))

    def batch_rows(self, source: StateSource, limit_bytes: int = MAX_BATCH_BYTES) -> int:
        """How many samples to run at once, so that their answers stay within bounds; runs the first one."""
        row_bytes = self.answers(source, Batch(0, 1), where="in floats").values.nbytes
        return min(max(limit_bytes // max(row_bytes, 1), 1), MAX_BATCH_ROWS, self._samples.count)
