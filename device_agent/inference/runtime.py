"""Runs a graph on a snapshot's weights, dequantized one tensor at a time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from common.graph.build import build
from common.graph.model import Graph
from device_agent.inference.dequantize import Dequantizer
from device_agent.residency.resident import Snapshot


class Runtime:
    """A graph that can run; holds no weights, and threads may share it.

    Raises:
        UnsupportedModelError: An operator is not allowed, or not in this torch.
    """

    def __init__(self, graph: Graph) -> None:
        self._runner = build(graph)

    def run(
        self, snapshot: Snapshot, inputs: Sequence[NDArray[Any]], *, highest_level: int = 0
    ) -> tuple[NDArray[Any], ...]:
        """The graph's outputs, in its order.

        Args:
            snapshot: Weights of the graph.
            inputs: As ``common.graph.inputs.check_inputs`` gives them.
            highest_level: See ``SnapshotSource``.
        """
        source = SnapshotSource(snapshot, highest_level=highest_level)
        tensors = [torch.from_numpy(np.require(array, requirements=["C", "W"])) for array in inputs]
        return tuple(_to_numpy(output) for output in self._runner(source, *tensors))


class SnapshotSource:
    """Weights of one snapshot; implements ``common.graph.build.StateSource``.

    Args:
        snapshot: The weights; never changes, so one source serves one request in one state.
        highest_level: Blocks above this level answer as if they were lowered to it; 0 for no limit.
    """

    def __init__(self, snapshot: Snapshot, *, highest_level: int = 0) -> None:
        self._snapshot = snapshot
        self._highest_level = highest_level or snapshot.levels[-1]
        self._dequantizer = Dequantizer()

    def tensor(self, name: str) -> torch.Tensor:
        """A weight, buffer or constant of the graph; a quantized one is made anew at every call."""
        parts = self._snapshot.parts(name)
        if not parts:
            return torch.from_numpy(self._snapshot.blocks[self._snapshot.floats[name]].floats[name])
        shape = parts[0].part.shape
        weight = torch.empty(shape, dtype=torch.float32)
        rows = weight.view(shape[0], -1)
        for resident in parts:
            level = min(resident.codes.level, self._highest_level)
            index = self._snapshot.levels.index(level)
            out = rows[resident.part.start : resident.part.stop]
            self._dequantizer.write_rows(resident, index, level, out)
        return weight


def _to_numpy(output: torch.Tensor) -> NDArray[Any]:
    """An array of the output's values; numpy has no bfloat16, so that comes as float32."""
    array: NDArray[Any] = (output.float() if output.dtype == torch.bfloat16 else output).contiguous().numpy()
    return array
