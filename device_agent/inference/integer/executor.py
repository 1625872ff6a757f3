"""What stands between the pager and the kernels: weights become kernel weights before they are published."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace
from typing import Final

from device_agent.inference.integer.binding import BoundLayer, bind, layer_floats
from device_agent.inference.integer.engines.port import Engine
from device_agent.inference.integer.layers import Layer
from device_agent.inference.integer.making import kernel_weight
from device_agent.inference.integer.plan import Plan
from device_agent.inference.integer.weights import KernelCodes, KernelWeight
from device_agent.residency.bit_planes import PackedCodes
from device_agent.residency.codes import ByteCodes
from device_agent.residency.resident import ResidentBlock, ResidentPart, Snapshot

_SIDE: Final = 14  # of an image amid a net


class Executor:
    """Prepares layers; holds no weights itself.

    Args:
        plan: What kernels could do.
        engine: Does it; None where there is none.
        exact: Whether convolutions keep each row's offset apart, as linear layers always do: as exact as
            floats on the same activations, and slower.

    Attributes:
        ready: Weights whose layers run on kernels, once their codes are held as bytes.
        sources: Shapes of the layers' inputs for one sample, by weight, as far as they were seen.
    """

    def __init__(self, plan: Plan, engine: Engine | None, *, exact: bool = False) -> None:
        self._plan = plan
        self._engine = engine
        self._exact = exact
        self._layers: Mapping[str, Layer] = {layer.weight: layer for layer in plan.layers.values()}
        self._weights: dict[str, list[str]] = {}  # of the layers that read a state
        for layer in plan.layers.values():
            for name in layer.states:
                self._weights.setdefault(name, []).append(layer.weight)
        self.ready: frozenset[str] = frozenset()
        self.sources: dict[str, tuple[int, ...]] = {}

    def prepare(self, snapshot: Snapshot, changed: Collection[int]) -> Snapshot:
        """The snapshot with kernels for what changed in it; see ``residency.pager.Prepare``."""
        concerned = self._concerned(snapshot, changed)
        prepared = dict(snapshot.prepared)
        blocks = dict(enumerate(snapshot.blocks))
        for name, layer in self._layers.items():
            if name not in concerned or not self._whole(layer, snapshot):
                continue
            places = snapshot.tensors[name]
            weight = self._weight(layer, snapshot)
            if weight is None:
                prepared.pop(name, None)
                for at_block, at_part in places:
                    blocks[at_block] = _with_bytes(blocks[at_block], at_part)
                continue
            before = prepared.get(name)
            fresh = not (isinstance(before, BoundLayer) and before.weight is weight)
            if fresh or not self._same_floats(before, layer, snapshot):
                grid = self._plan.grids.get(layer.value) if layer.value in self._plan.eight_bit else None
                prepared[name] = bind(layer, weight, snapshot, grid)
            for at, (at_block, at_part) in enumerate(places):
                blocks[at_block] = _with_kernel(blocks[at_block], at_part, weight, at)
        return replace(snapshot, blocks=tuple(blocks.values()), prepared=prepared)

    def _concerned(self, snapshot: Snapshot, changed: Collection[int]) -> set[str]:
        """Weights of layers that are made of anything in the blocks that changed."""
        found: set[str] = set()
        for block in (snapshot.blocks[at] for at in changed):
            for name in (*(part.part.name for part in block.parts), *block.float_names()):
                found.update(self._weights.get(name, ()))
        return found

    @staticmethod
    def _whole(layer: Layer, snapshot: Snapshot) -> bool:
        """Whether all of it is there: while a version is loaded, some blocks are still to come."""
        parts = snapshot.parts(layer.weight)
        whole = bool(parts) and parts[-1].part.stop == parts[-1].part.shape[0]
        return whole and all(name in snapshot.floats for name in layer.states[1:])

    def _weight(self, layer: Layer, snapshot: Snapshot) -> KernelWeight | None:
        """The kernel's weight: the one that is there, or a new one; None where floats shall do the layer."""
        parts = snapshot.parts(layer.weight)
        if self._engine is None or layer.weight not in self.ready or _any_packed(parts):
            return None
        first = parts[0].codes
        if isinstance(first, KernelCodes) and all(
            isinstance(part.codes, KernelCodes) and part.codes.weight is first.weight for part in parts
        ):
            return first.weight
        if not self._serves(self._engine, layer, parts[0].part.shape):
            return None
        exact = layer.kind == "linear" or (self._exact and self._engine.gives_floats())
        source = self.sources.get(layer.weight) or _guess(layer, parts[0].part.shape)
        bound = snapshot.prepared.get(layer.weight)
        before = bound.weight if isinstance(bound, BoundLayer) else None
        return kernel_weight(parts, self._engine, layer.geometry, source, exact=exact, before=before)

    def _serves(self, engine: Engine, layer: Layer, shape: tuple[int, ...]) -> bool:
        """Whether an engine gives the layer's result in the form that the plan wants."""
        if layer.kind == "linear":
            return True
        gives = engine.gives_floats() or layer.value in self._plan.eight_bit
        return gives and engine.takes(layer.geometry, shape[1])

    @staticmethod
    def _same_floats(before: object, layer: Layer, snapshot: Snapshot) -> bool:
        now = layer_floats(layer, snapshot)
        return isinstance(before, BoundLayer) and all(
            one is other for one, other in zip(before.floats, now, strict=True)
        )


def _guess(layer: Layer, shape: tuple[int, ...]) -> tuple[int, ...]:
    """An input that a layer might get: [1, columns, height, width]."""
    sides = tuple(max(_SIDE, 2 * size) for size in shape[2:])
    return (1, shape[1] * layer.geometry.groups, *(sides or (1, 1)))


def _any_packed(parts: tuple[ResidentPart, ...]) -> bool:
    return any(isinstance(part.codes, PackedCodes) for part in parts)


def _with_bytes(block: ResidentBlock, at_part: int) -> ResidentBlock:
    """The block with a part that no kernel holds."""
    part = block.parts[at_part]
    if isinstance(part.codes, ByteCodes | PackedCodes):
        return block
    codes = ByteCodes(part.codes.level, part.codes.unsigned())
    return replace(
        block, parts=(*block.parts[:at_part], replace(part, codes=codes), *block.parts[at_part + 1 :])
    )


def _with_kernel(block: ResidentBlock, at_part: int, weight: KernelWeight, at: int) -> ResidentBlock:
    part = block.parts[at_part]
    if isinstance(part.codes, KernelCodes) and part.codes.weight is weight:
        return block
    codes = KernelCodes(weight, at, part.codes.count, part.part.rows)
    parts = (*block.parts[:at_part], replace(part, codes=codes), *block.parts[at_part + 1 :])
    return replace(block, parts=parts)
