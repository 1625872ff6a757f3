"""How many samples a calibration can hold in memory at once."""

from __future__ import annotations

from typing import Any, Final

import torch

from common.graph.build import Run, StateSource, build
from common.graph.model import Graph
from server.quantize.samples import Samples

_ROOM_BYTES: Final = 3 << 30
_WALKS: Final = 2


def affordable(graph: Graph, floats: StateSource, samples: Samples) -> Samples:
    """The samples, or as many of the first as two walks through the graph have room for; at least one.

    One sample goes through the graph to see how much is alive at a time.
    """
    run = build(graph).start(floats, *(torch.from_numpy(array[:1]) for array in samples.inputs))
    largest = 1
    with torch.inference_mode():
        while run.advance():
            largest = max(largest, _alive_bytes(run))
    count = max(1, _ROOM_BYTES // (_WALKS * largest))
    return samples if count >= samples.count else Samples(tuple(array[:count] for array in samples.inputs))


def _alive_bytes(run: Run) -> int:
    return sum(_bytes(value) for value in run.values.values())


def _bytes(value: Any) -> int:
    if isinstance(value, torch.Tensor):
        return value.nbytes
    return sum(_bytes(item) for item in value) if isinstance(value, tuple | list) else 0
