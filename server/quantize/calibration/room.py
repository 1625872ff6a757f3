"""How many samples a calibration can hold in memory at once."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

import torch

from common.graph.build import StateSource, build
from common.graph.model import Graph
from server.quantize.samples import Samples

ROOM_BYTES: Final = 3 << 30


def affordable(graph: Graph, floats: StateSource, samples: Samples, room_bytes: int = ROOM_BYTES) -> Samples:
    """The samples, or as many of the first as a walk through the graph has room for; at least one.

    One sample goes through the graph to see how much is alive at a time.
    """
    run = build(graph).start(floats, *(torch.from_numpy(array[:1]) for array in samples.inputs))
    largest = 1
    with torch.inference_mode():
        while True:
            before = dict(run.values)  # an operator's inputs are alive beside what it makes of them
            if not run.advance():
                break
            largest = max(largest, _alive_bytes(before | dict(run.values)))
    count = max(1, room_bytes // largest)
    return samples if count >= samples.count else Samples(tuple(array[:count] for array in samples.inputs))


def _alive_bytes(values: Mapping[str, Any]) -> int:
    """What values take; those that are views of one another count once."""
    found: dict[int, int] = {}
    for tensor in _tensors(list(values.values())):
        address = tensor.untyped_storage().data_ptr()
        found[address] = max(found.get(address, 0), tensor.nbytes)
    return sum(found.values())


def _tensors(value: Any) -> Iterator[torch.Tensor]:
    if isinstance(value, torch.Tensor):
        yield value
    elif isinstance(value, tuple | list):
        for item in value:
            yield from _tensors(item)
