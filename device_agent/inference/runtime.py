"""Runs a graph on a snapshot's weights: on integer kernels where they are ready, else in floats.

In floats a weight is dequantized right before its layer runs, one at a time.
"""

from __future__ import annotations

import contextlib
from collections import deque
from collections.abc import Iterator, Sequence
from collections.abc import Set as AbstractSet
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from common.graph.build import build
from common.graph.model import Graph
from common.graph.plan import passing_states
from device_agent.inference.dequantize import Dequantizer
from device_agent.inference.integer.engines.port import Engine
from device_agent.inference.integer.lookup import look_up
from device_agent.inference.integer.plan import Plan
from device_agent.inference.integer.runner import IntegerRunner, Timing
from device_agent.residency.resident import Snapshot


class Runtime:
    """A graph that can run; holds no weights, and threads may share it.

    Args:
        graph: The computation.
        plan: What of it kernels may do.
        engine: Does that; None where there is none.

    Raises:
        UnsupportedModelError: An operator is not allowed, or not in this torch.
    """

    def __init__(self, graph: Graph, plan: Plan, engine: Engine | None) -> None:
        self._runner = build(graph)
        self._integers = IntegerRunner(graph, plan, engine)
        self._passing = passing_states(graph)
        self._idle: deque[Dequantizer] = deque(maxlen=1)

    def run(
        self,
        snapshot: Snapshot,
        inputs: Sequence[NDArray[Any]],
        *,
        timing: Timing | None = None,
    ) -> tuple[NDArray[Any], ...]:
        """The graph's outputs, in its order.

        Args:
            snapshot: Weights of the graph, and kernels for those that have some.
            inputs: As ``common.graph.inputs.check_inputs`` gives them.
            timing: Told how long each layer took that kernels could do.
        """
        with self._dequantizer() as dequantizer:
            source = _Source(snapshot, dequantizer, snapshot.levels[-1], self._passing)
            outputs = self._integers(
                source,
                snapshot.prepared,
                lambda table, indices: look_up(snapshot.parts(table), indices),
                *_tensors(inputs),
                timing=timing,
            )
            return tuple(_to_numpy(output) for output in outputs)

    def run_in_floats(
        self, snapshot: Snapshot, inputs: Sequence[NDArray[Any]], *, highest_level: int = 0
    ) -> tuple[NDArray[Any], ...]:
        """As ``run``, without any kernel.

        Args:
            snapshot: Weights of the graph.
            inputs: As ``common.graph.inputs.check_inputs`` gives them.
            highest_level: Blocks above this level answer as if they were lowered to it, or to their base; 0
                for no limit.
        """
        with self._dequantizer() as dequantizer:
            level = highest_level or snapshot.levels[-1]
            source = _Source(snapshot, dequantizer, level, self._passing)
            return tuple(_to_numpy(output) for output in self._runner(source, *_tensors(inputs)))

    @contextlib.contextmanager
    def _dequantizer(self) -> Iterator[Dequantizer]:
        """One that is this run's alone; the memory of the last is kept for the next."""
        try:
            dequantizer = self._idle.pop()
        except IndexError:
            dequantizer = Dequantizer()
        yield dequantizer
        self._idle.append(dequantizer)


class _Source:
    """Weights of one snapshot; implements ``common.graph.build.StateSource``.

    Args:
        snapshot: The weights; never changes, so that a request is answered from one state.
        dequantizer: Not used elsewhere meanwhile.
        highest_level: Blocks above this level answer as if they were lowered to it.
        passing: See ``common.graph.plan.passing_states``.
    """

    def __init__(
        self, snapshot: Snapshot, dequantizer: Dequantizer, highest_level: int, passing: AbstractSet[str]
    ) -> None:
        self._snapshot = snapshot
        self._dequantizer = dequantizer
        self._highest_level = highest_level
        self._passing = passing

    def tensor(self, name: str) -> torch.Tensor:
        """A weight, buffer or constant of the graph; a quantized one is made anew at every call."""
        parts = self._snapshot.parts(name)
        if not parts:
            return torch.from_numpy(self._snapshot.float_value(name, self._highest_level))
        weight = self._dequantizer.weight(parts, highest_level=self._highest_level)
        return weight if name in self._passing else weight.clone()


def _tensors(inputs: Sequence[NDArray[Any]]) -> list[torch.Tensor]:
    return [torch.from_numpy(np.require(array, requirements=["C", "W"])) for array in inputs]


def _to_numpy(output: torch.Tensor) -> NDArray[Any]:
    """An array of the output's values; numpy has no bfloat16, so that comes as float32."""
    array: NDArray[Any] = (output.float() if output.dtype == torch.bfloat16 else output).contiguous().numpy()
    return array
