"""Models on integer kernels, put together as a device does it, beside floats on the same weights."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import nn

from common.blob_codec import decode_bytes
from common.graph import codec
from common.graph.build import build
from common.graph.model import Graph
from device_agent.inference.dequantize import Dequantizer
from device_agent.inference.integer.binding import BoundLayer
from device_agent.inference.integer.engines.choice import choose_engine, engines_here
from device_agent.inference.integer.engines.port import Engine
from device_agent.inference.integer.executor import Executor
from device_agent.inference.integer.lookup import look_up
from device_agent.inference.integer.plan import Plan, make_plan
from device_agent.inference.integer.runner import IntegerRunner
from device_agent.residency.pager import Pager
from device_agent.residency.resident import Snapshot
from tests.support.versions import Version, make_version
from tests.support.zoo import randomize_statistics

ENGINES = ("onednn", "qnnpack", "fbgemm")


def engine_named(name: str) -> Engine:
    """An engine; a test that needs one that is not here is skipped."""
    if name not in engines_here():
        pytest.skip(f"{name} is not on this machine")
    engine = choose_engine(name)
    assert engine is not None
    return engine


def trained_looking(model: nn.Module, seed: int = 0) -> nn.Module:
    """A model in eval mode whose norms have been somewhere, some channels upside down."""
    torch.manual_seed(seed)
    randomize_statistics(model)
    for part in model.modules():
        if isinstance(part, nn.BatchNorm2d):
            part.weight.data[::3] *= -1
    return model.eval()


def graph_of(version: Version) -> Graph:
    """A version's computation, with its ranges."""
    ref = version.manifest.graph
    return codec.from_json(decode_bytes(version.blobs[ref.digest], ref))


def plan_of(model: nn.Module, *inputs: torch.Tensor) -> tuple[Graph, Plan]:
    """A model's graph with ranges from some inputs, and its plan."""
    case = Case(make_version(model.eval(), inputs))
    return case.graph, case.plan


@dataclass(frozen=True)
class Case:
    """A version on its way to kernels."""

    version: Version

    @cached_property
    def graph(self) -> Graph:
        """Its computation."""
        return graph_of(self.version)

    @cached_property
    def plan(self) -> Plan:
        """What kernels could do."""
        manifest = self.version.manifest
        return make_plan(self.graph, {part.name for block in manifest.blocks for part in block.tensors})

    def pager(self, levels: Sequence[int], engine: Engine | None, *, exact: bool = False) -> Pager:
        """Its weights, on kernels where there are any."""
        executor = Executor(self.plan, engine, exact=exact)
        executor.ready = frozenset(self.plan.weights)
        manifest, read = self.version.manifest, self.version.read
        return Pager(manifest, read, levels, unpacked=self.plan.weights, prepare=executor.prepare)

    def plain(self, levels: Sequence[int]) -> Pager:
        """Its weights packed, as floats read them."""
        return Pager(self.version.manifest, self.version.read, levels)

    def answer(
        self, snapshot: Snapshot, engine: Engine | None, inputs: Sequence[torch.Tensor] | None = None
    ) -> list[NDArray[Any]]:
        """What kernels make of the inputs, the example's by default."""
        runner = IntegerRunner(self.graph, self.plan, engine)
        rows = lambda name, indices: look_up(snapshot.parts(name), indices)  # noqa: E731
        given = self.version.exported.inputs if inputs is None else inputs
        outputs = runner(SnapshotFloats(snapshot), snapshot.prepared, rows, *given)
        return [output.detach().numpy() for output in outputs]

    def floats(
        self, levels: Sequence[int], inputs: Sequence[torch.Tensor] | None = None
    ) -> list[NDArray[Any]]:
        """What float arithmetic makes of them."""
        source = SnapshotFloats(self.plain(levels).snapshot)
        given = self.version.exported.inputs if inputs is None else inputs
        with torch.inference_mode():
            return [output.numpy() for output in build(self.graph)(source, *given)]

    def uniform(self, level: int) -> tuple[int, ...]:
        """All blocks at a level."""
        return (level,) * len(self.version.manifest.blocks)

    def on_kernels(self, snapshot: Snapshot) -> set[str]:
        """Weights that kernels hold."""
        return {name for name, bound in snapshot.prepared.items() if isinstance(bound, BoundLayer)}

    def errors(self, levels: Sequence[int], engine: Engine, *, exact: bool = False) -> Iterator[float]:
        """Of each output, how far it is from floats as a part of its norm."""
        snapshot = self.pager(levels, engine, exact=exact).snapshot
        for one, other in zip(self.answer(snapshot, engine), self.floats(levels), strict=True):
            yield float(np.linalg.norm(one - other) / np.linalg.norm(other))


class SnapshotFloats:
    """A ``StateSource`` over a snapshot at its own levels."""

    def __init__(self, snapshot: Snapshot) -> None:
        self._snapshot = snapshot

    def tensor(self, name: str) -> torch.Tensor:
        parts = self._snapshot.parts(name)
        if not parts:
            return torch.from_numpy(self._snapshot.float_value(name, 8))
        return Dequantizer().weight(parts, highest_level=8).clone()
