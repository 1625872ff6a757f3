"""A model with its samples and its measure."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.quantize.row import Scores
from common.graph.build import Runner, StateSource, build
from common.graph.model import Graph
from common.graph.uses import quantizable_states
from server.export import Exported

Inputs = tuple[torch.Tensor, ...]
Score = Callable[[NDArray[np.float32], NDArray[np.float32]], Scores]


@dataclass(frozen=True, slots=True, eq=False)
class Batch:
    """Samples of one shape.

    Attributes:
        graph: The computation for this shape; its states are named as in the task's own graph.
        inputs: In the graph's order.
    """

    graph: Graph
    inputs: Inputs


@dataclass(slots=True, eq=False)
class Task:
    """What a benchmark needs to know of a model.

    Attributes:
        name: As in the report.
        exported: Graph and float weights; no calibration sample's shape differs from its example inputs.
        calibration: Unlabelled samples, disjoint from those that it is scored on; in the graph's order.
        batches: What it is scored on; empty: measured for speed and memory alone.
        read: From the outputs of a batch to one vector per sample.
        score: From the vectors of all samples, and those of the floats, to the measures.
        quantized: Names of the weights that become codes, in the graph's order.
    """

    name: str
    exported: Exported
    calibration: Inputs
    batches: tuple[Batch, ...] = ()
    read: Callable[[Batch, tuple[torch.Tensor, ...]], torch.Tensor] = lambda _, outputs: outputs[0]
    score: Score = lambda _outputs, _reference: Scores()
    quantized: tuple[str, ...] = field(init=False)
    _runners: tuple[Runner, ...] = field(init=False)
    _reference: NDArray[np.float32] | None = field(init=False, default=None)

    def __post_init__(self) -> None:
        self.quantized = quantizable_states(self.exported.graph)
        self._runners = tuple(build(batch.graph) for batch in self.batches)

    @property
    def weights(self) -> int:
        """How many weights become codes."""
        return sum(self.exported.states[name].numel() for name in self.quantized)

    @property
    def float_bytes(self) -> int:
        """Size of those weights as 32-bit floats."""
        return 4 * self.weights

    def scores(self, source: StateSource) -> Scores:
        """How the model does with other weights."""
        if not self.batches:
            return Scores()
        if self._reference is None:
            self._reference = self._outputs(self.exported)
        return self.score(self._outputs(source), self._reference)

    def _outputs(self, source: StateSource) -> NDArray[np.float32]:
        """float32 [samples, features], batch by batch."""
        rows = [
            self.read(batch, runner(source, *batch.inputs))
            for batch, runner in zip(self.batches, self._runners, strict=True)
        ]
        return np.concatenate([tensor.numpy() for tensor in rows])
