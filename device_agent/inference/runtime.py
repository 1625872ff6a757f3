"""Runs a graph on a snapshot's weights, dequantized one tensor at a time."""

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
from device_agent.residency.resident import Snapshot


class Runtime:
    """A graph that can run; holds no weights, and threads may share it.

    Raises:
        UnsupportedModelError: An operator is not allowed, or not in this torch.
    """

    def __init__(self, graph: Graph) -> None:
        self._runner = build(graph)
        self._passing = passing_states(graph)
        self._idle: deque[Dequantizer] = deque(maxlen=1)

    def run(
        self, snapshot: Snapshot, inputs: Sequence[NDArray[Any]], *, highest_level: int = 0
    ) -> tuple[NDArray[Any], ...]:
        """The graph's outputs, in its order.

        Args:
            snapshot: Weights of the graph.
            inputs: As ``common.graph.inputs.check_inputs`` gives them.
            highest_level: Blocks above this level answer as if they were lowered to it, or to their base; 0
                for no limit.
        """
        tensors = [torch.from_numpy(np.require(array, requirements=["C", "W"])) for array in inputs]
        with self._dequantizer() as dequantizer:
            level = highest_level or snapshot.levels[-1]
            source = _Source(snapshot, dequantizer, level, self._passing)
            return tuple(_to_numpy(output) for output in self._runner(source, *tensors))

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


def _to_numpy(output: torch.Tensor) -> NDArray[Any]:
    """An array of the output's values; numpy has no bfloat16, so that comes as float32."""
    array: NDArray[Any] = (output.float() if output.dtype == torch.bfloat16 else output).contiguous().numpy()
    return array
