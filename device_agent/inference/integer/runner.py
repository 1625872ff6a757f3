"""Runs a graph by its plan: kernels where their weights are ready, float arithmetic everywhere else."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import torch

from common.errors import UnsupportedModelError
from common.graph.build import StateSource, Step, call_step, load_state, make_step
from common.graph.model import Graph, Node, State, StateRef, ValueRef
from common.graph.plan import Lifetimes, lifetimes
from common.graph.ranges import Grid
from device_agent.inference.integer.binding import BoundLayer
from device_agent.inference.integer.engines.port import Engine, EightBit, quantized
from device_agent.inference.integer.layers import Layer
from device_agent.inference.integer.plan import ARRANGING, POOLING, Plan
from device_agent.inference.integer.row_codes import RowCodes, row_codes, rows_of

_NOTHING: Final = Lifetimes((), frozenset(), ())
_LAYER: Final = "integer.layer"
_TRIFLE: Final = 1e-3

# Table and indices to float32 rows.
Lookup = Callable[[str, torch.Tensor], torch.Tensor]
# Told how long each layer took, in seconds; with its weight's name.
Timing = Callable[[str, float], None]


@dataclass(frozen=True, slots=True)
class _Work:
    """One step of a run; the kinds of step differ in what is set.

    Attributes:
        name: Of the value that it yields.
        step: A node as it stands in the graph.
        layer: What a kernel may do instead of ``steps``.
        steps: The layer's own nodes.
        table: What a node takes rows of.
        ends: What begins and ends here.
        grid: Of the value, if it stays 8-bit.
        fresh: Whether what the layer adds is nobody else's, and may be overwritten.
    """

    name: str
    ends: Lifetimes
    step: Step | None = None
    layer: Layer | None = None
    steps: tuple[Step, ...] = ()
    table: str | None = None
    grid: Grid | None = None
    fresh: bool = False


class IntegerRunner:
    """A model that answers; holds no weights and no state between calls, so threads may share it.

    Args:
        graph: The computation.
        plan: How it may run.
        engine: Runs the layers.

    Raises:
        UnsupportedModelError: An operator is not allowed, or not in this torch.
    """

    def __init__(self, graph: Graph, plan: Plan, engine: Engine | None) -> None:
        self._graph = graph
        self._plan = plan
        self._engine = engine
        self._states = {state.name: state for state in graph.states}
        self._works = tuple(_works(graph, plan))

    def __call__(
        self,
        source: StateSource,
        prepared: Mapping[str, object],
        look_up: Lookup,
        *inputs: torch.Tensor,
        timing: Timing | None = None,
    ) -> tuple[torch.Tensor, ...]:
        """The outputs in the graph's order.

        Args:
            source: Gives every state that float arithmetic needs.
            prepared: Weight to its ``BoundLayer``; layers without one run in floats.
            look_up: Takes rows out of a table.
            inputs: In the graph's order, as ``common.graph.inputs.check_inputs`` accepts them.
            timing: Told how long each layer took.

        Raises:
            UnsupportedModelError: An operator fails; names it and its layer.
            CapacityError: An operator finds no memory.
        """
        values: dict[str, Any] = dict(zip((item.name for item in self._graph.inputs), inputs, strict=True))
        run = _Run(source, self._states, prepared, look_up, self._plan, self._engine, values)
        with torch.inference_mode():
            for work in self._works:
                if timing is None or work.layer is None:
                    run.take(work)
                    continue
                started = time.perf_counter()
                run.take(work)
                timing(work.layer.weight, time.perf_counter() - started)
            return tuple(run.output(output.source) for output in self._graph.outputs)


class _Run:
    """One answer in the making."""

    def __init__(
        self,
        source: StateSource,
        states: Mapping[str, State],
        prepared: Mapping[str, object],
        look_up: Lookup,
        plan: Plan,
        engine: Engine | None,
        values: dict[str, Any],
    ) -> None:
        self._source = source
        self._states = states
        self._prepared = prepared
        self._look_up = look_up
        self._plan = plan
        self._engine = engine
        self._values = values
        self._eights: dict[str, EightBit] = {}
        self._rows_of: dict[str, RowCodes] = {}
        self._held: dict[str, torch.Tensor] = {}

    def take(self, work: _Work) -> None:
        """One more step is done."""
        if work.layer is not None:
            bound = self._prepared.get(work.layer.weight)
            done = isinstance(bound, BoundLayer) and self._kernel(work, work.layer, bound)
            if not done:
                self._in_floats(work)
        elif work.table is not None:
            self._values[work.name] = self._rows(work, work.table)
        elif work.step is not None:
            self._plain(work, work.step)
        for name in work.ends.drops:
            self._held.pop(name, None)
        for name in work.ends.frees:
            del self._values[name]
            self._eights.pop(name, None)
            self._rows_of.pop(name, None)

    def output(self, source: ValueRef | StateRef) -> torch.Tensor:
        """A tensor that the answer holds."""
        value = self._fill(source)
        if not isinstance(value, torch.Tensor):
            raise UnsupportedModelError(f"Output {source.name!r} of the graph is no tensor.")
        return value

    def _kernel(self, work: _Work, layer: Layer, bound: BoundLayer) -> bool:
        """The layer in integers; whether its values allowed that."""
        engine = self._engine
        if engine is None:
            return False
        if layer.kind == "linear":
            return self._linear(engine, work, layer, bound)
        source = self._eight_bit(layer.source)
        if source is None:
            return False
        added = None
        if layer.added is not None:
            added = self._eight_bit(layer.added)
            if added is None or not _fits(source, added, bound, layer):
                return False
            if not work.fresh and bound.offset is None:
                added = replace(added, codes=added.codes.clone())
        try:
            result = _computed(engine, source, added, bound, layer)
        except RuntimeError as error:
            raise _failed(layer, error) from error
        grid = bound.calculation.output
        if grid is not None:
            eight = EightBit.on_grid(result, grid)
            _clip_codes(eight, layer)
            self._values[work.name] = eight
            return True
        if not bound.calculation.rectified or not math.isinf(layer.high):
            _clip(result, layer)
        self._values[work.name] = result if work.grid is None else quantized(result, work.grid)
        return True

    def _linear(self, engine: Engine, work: _Work, layer: Layer, bound: BoundLayer) -> bool:
        """A linear layer in integers; whether its input is floats, or 8-bit numbers."""
        value = self._values[layer.source]
        rows = self._rows_of.get(layer.source)
        if rows is None:
            if isinstance(value, EightBit):
                rows = rows_of(value)
            elif isinstance(value, torch.Tensor) and value.is_floating_point() and value.numel():
                rows = row_codes(value)
            else:
                return False
            self._rows_of[layer.source] = rows
        try:
            result = _linear(engine, rows, bound)
        except RuntimeError as error:
            raise _failed(layer, error) from error
        _clip(result, layer)
        self._values[work.name] = result
        return True

    def _in_floats(self, work: _Work) -> None:
        """The layer's own nodes, one after the other."""
        for step in work.steps:
            self._values[step.node.name] = self._call(step)
        for step in work.steps[:-1]:
            del self._values[step.node.name]

    def _plain(self, work: _Work, step: Step) -> None:
        first = step.node.args[0] if step.node.args else None
        value = self._values.get(first.name) if isinstance(first, ValueRef) else None
        if work.grid is not None and isinstance(value, EightBit):
            self._values[work.name] = self._arranged(step, value)
            return
        for name in work.ends.holds:
            self._held[name] = self._state(name)
        self._values[work.name] = self._call(step)

    def _arranged(self, step: Step, value: EightBit) -> EightBit:
        """8-bit numbers in another order, or the greatest of each window."""
        args = [self._fill(item) for item in step.args[1:]]
        if step.node.op == POOLING:
            return replace(value, codes=_greatest(value.codes, *args, **step.kwargs))
        kwargs = {key: self._fill(item) for key, item in step.kwargs.items()}
        return replace(value, codes=call_step(step, [value.codes, *args], kwargs))

    def _rows(self, work: _Work, table: str) -> torch.Tensor:
        step = work.step
        if step is None:  # pragma: no cover
            raise ValueError("a lookup has its node")
        indices = self._fill(step.node.args[1])
        try:
            found = self._look_up(table, indices)
        except IndexError as error:
            raise UnsupportedModelError(f"Looking up rows of {table!r} failed: {error}") from error
        return found.to(getattr(torch, self._states[table].dtype))

    def _call(self, step: Step) -> Any:
        args = [self._fill(item) for item in step.args]
        return call_step(step, args, {key: self._fill(item) for key, item in step.kwargs.items()})

    def _eight_bit(self, name: str) -> EightBit | None:
        """A value on its grid; None where it is no tensor of floats."""
        value = self._values[name]
        if isinstance(value, EightBit):
            return value
        found = self._eights.get(name)
        if found is None:
            if not isinstance(value, torch.Tensor) or not value.is_floating_point():
                return None
            found = self._eights[name] = quantized(value, self._plan.grids[name])
        return found

    def _fill(self, template: Any) -> Any:
        if isinstance(template, ValueRef):
            value = self._values[template.name]
            return value.floats() if isinstance(value, EightBit) else value
        if isinstance(template, StateRef):
            return self._state(template.name)
        if isinstance(template, list):
            return [self._fill(item) for item in template]
        return template

    def _state(self, name: str) -> torch.Tensor:
        held = self._held.get(name)
        return load_state(self._states[name], self._source) if held is None else held


def _failed(layer: Layer, error: RuntimeError) -> UnsupportedModelError:
    reason = str(error).partition("\n")[0][:300]
    return UnsupportedModelError(f"The kernel of {layer.weight!r} failed: {reason}")


def _computed(
    engine: Engine, source: EightBit, added: EightBit | None, bound: BoundLayer, layer: Layer
) -> torch.Tensor:
    """The layer's result before what it clips to, but for what the kernel clips by itself."""
    if bound.offset is None:
        return engine.run(source, bound.calculation, added)
    result = engine.run(source, bound.calculation, None)
    _add_offset(engine, result, source, bound)
    return result if added is None else result.add_(added.floats())


def _linear(engine: Engine, source: RowCodes, bound: BoundLayer) -> torch.Tensor:
    """float32 [..., rows] from [..., columns]: a convolution over one long column of pixels."""
    codes = source.codes
    plane = codes.view(1, *codes.shape, 1).permute(0, 2, 1, 3)
    sums = engine.run(EightBit(plane, 1.0, 0), bound.calculation, None)
    rows = sums.permute(0, 2, 3, 1).reshape(len(codes), -1)
    if bound.terms is None:
        raise ValueError("a linear layer has its terms")
    rows.addmm_(source.terms, bound.terms).mul_(source.scale)
    return rows.view(*source.lead, -1)


def _add_offset(engine: Engine, result: torch.Tensor, source: EightBit, bound: BoundLayer) -> None:
    """Add each row's offset times the sum of the input under the window, which is one for all rows."""
    if bound.window is None or bound.offset is None:
        raise ValueError("a convolution with offsets has a window")
    sums = engine.run(source, bound.window, None).permute(0, 2, 3, 1).unsqueeze(-1)
    groups = sums.shape[3]
    by_group = result.permute(0, 2, 3, 1).unflatten(3, (groups, -1))
    torch.addcmul(by_group, sums, bound.offset.view(groups, -1), out=by_group)


def _fits(source: EightBit, added: EightBit, bound: BoundLayer, layer: Layer) -> bool:
    """Whether what is added has the shape of the sum: it could be spread out over it."""
    geometry = layer.geometry
    batch, _, *plane = source.codes.shape
    kernel = bound.weight.kernel
    sizes = (
        (size + 2 * pad - dilate * (width - 1) - 1) // step + 1
        for size, pad, dilate, width, step in zip(
            plane, geometry.padding, geometry.dilation, kernel, geometry.stride, strict=True
        )
    )
    return tuple(added.codes.shape) == (batch, bound.weight.rows, *sizes)


def _clip(result: torch.Tensor, layer: Layer) -> None:
    if not (math.isinf(layer.low) and math.isinf(layer.high)):
        result.clamp_(layer.low, layer.high)


def _clip_codes(value: EightBit, layer: Layer) -> None:
    """Clip what the ends of the grid do not clip already."""
    low, high = -value.zero * value.scale, (255 - value.zero) * value.scale
    slack = _TRIFLE * value.scale
    if layer.low > low + slack or layer.high < high - slack:
        least = 0 if math.isinf(layer.low) else round(layer.low / value.scale) + value.zero
        most = 255 if math.isinf(layer.high) else round(layer.high / value.scale) + value.zero
        value.codes.clamp_(min(max(least, 0), 255), min(max(most, 0), 255))


def _greatest(
    codes: torch.Tensor,
    kernel: Sequence[int],
    stride: Sequence[int] = (),
    padding: Sequence[int] | int = 0,
    dilation: Sequence[int] | int = 1,
    ceil_mode: bool = False,  # noqa: FBT001, FBT002 - in the operator's own order
) -> torch.Tensor:
    sizes = [_pair(item) for item in (kernel, stride or kernel, padding, dilation)]
    result: torch.Tensor = torch.ops.quantized.max_pool2d(codes, *sizes, ceil_mode)
    return result


def _pair(item: Sequence[int] | int) -> list[int]:
    sizes = [item] if isinstance(item, int) else list(item)
    return sizes * 2 if len(sizes) == 1 else sizes


def _works(graph: Graph, plan: Plan) -> Iterator[_Work]:
    """The steps of a run, in order."""
    covered = {index for layer in plan.layers.values() for index in layer.nodes}
    kept: list[tuple[int, Node]] = []
    for index, node in enumerate(graph.nodes):
        layer = plan.layers.get(index)
        if layer is not None:
            read = [layer.source] if layer.added is None else [layer.source, layer.added]
            kept.append((index, Node(layer.value, _LAYER, "", tuple(ValueRef(name) for name in read), {})))
        elif index in plan.lookups:
            kept.append((index, replace(node, args=(None, *node.args[1:]))))
        elif index not in covered:
            kept.append((index, node))
    ends = lifetimes(replace(graph, nodes=tuple(node for _, node in kept)))
    makers = {layer.value for layer in plan.layers.values()}
    for (index, node), own in zip(kept, ends, strict=True):
        grid = plan.grids.get(node.name) if node.name in plan.eight_bit else None
        layer = plan.layers.get(index)
        if layer is not None:
            fresh = layer.added in own.frees and layer.added in makers
            steps = tuple(make_step(graph.nodes[at], _NOTHING) for at in layer.nodes)
            yield _Work(node.name, own, layer=layer, steps=steps, grid=grid, fresh=fresh)
        elif index in plan.lookups:
            step = make_step(graph.nodes[index], own)
            yield _Work(node.name, own, step=step, table=plan.lookups[index])
        else:
            arranges = node.op in ARRANGING or node.op == POOLING
            yield _Work(node.name, own, step=make_step(node, own), grid=grid if arranges else None)
