"""Runs a graph by its plan: kernels where their weights are ready, float arithmetic everywhere else."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import torch

from common.errors import UnsupportedModelError
from common.graph.build import StateSource, Step, call_step, load_state
from common.graph.model import Graph, State, StateRef, ValueRef
from device_agent.inference.integer.binding import BoundLayer
from device_agent.inference.integer.computing import (
    convolution,
    failed,
    fits,
    greatest,
    linear,
)
from device_agent.inference.integer.engines.port import EightBit, Engine, quantized
from device_agent.inference.integer.layers import Layer
from device_agent.inference.integer.plan import POOLING, Plan
from device_agent.inference.integer.row_codes import RowCodes, row_codes, rows_of
from device_agent.inference.integer.works import Work, make_works

# Table and indices to float32 rows.
Lookup = Callable[[str, torch.Tensor], torch.Tensor]
# Told of each layer: its weight's name, how long it took in seconds, the shape of its input to a kernel.
Timing = Callable[[str, float, tuple[int, ...]], None]


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
        self._works = make_works(graph, plan)

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
                shape = run.shape_of(work.layer)
                started = time.perf_counter()
                run.take(work)
                timing(work.layer.weight, time.perf_counter() - started, shape)
            return tuple(run.output(output.source) for output in self._graph.outputs)


class _Run:
    """One answer in the making."""

    def __init__(  # noqa: PLR0917 - of this module alone
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

    def take(self, work: Work) -> None:
        """One more step is done."""
        if work.layer is not None:
            bound = self._prepared.get(work.layer.weight)
            if not (isinstance(bound, BoundLayer) and self._kernel(work, work.layer, bound)):
                self._in_floats(work)
        elif work.table is not None:
            self._values[work.name] = self._rows(work, work.table)
        elif work.step is not None:
            self._plain(work, work.step)
        for name in work.ends.drops:
            self._held.pop(name, None)
        for name in work.ends.frees:
            del self._values[name]
            if self._eights:
                self._eights.pop(name, None)
            if self._rows_of:
                self._rows_of.pop(name, None)

    def shape_of(self, layer: Layer) -> tuple[int, ...]:
        """Of a layer's input as its kernel sees it: [batch, columns, height, width]."""
        value = self._values[layer.source]
        shape = tuple((value.codes if isinstance(value, EightBit) else value).shape)
        return (1, shape[-1], math.prod(shape[:-1]), 1) if layer.kind == "linear" else shape

    def output(self, source: ValueRef | StateRef) -> torch.Tensor:
        """A tensor that the answer holds."""
        value = self._fill(source)
        if not isinstance(value, torch.Tensor):
            raise UnsupportedModelError(f"Output {source.name!r} of the graph is no tensor.")
        return value

    def _kernel(self, work: Work, layer: Layer, bound: BoundLayer) -> bool:
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
            if added is None or not fits(source, added, bound, layer):
                return False
            if not work.fresh and bound.offset is None:
                added = replace(added, codes=added.codes.clone())
        try:
            result = convolution(engine, source, added, bound)
        except RuntimeError as error:
            raise failed(layer, error) from error
        if bound.clip is not None:
            result.clamp_(*bound.clip)
        grid = bound.calculation.output
        if grid is not None:
            self._values[work.name] = EightBit.on_grid(result, grid)
        else:
            self._values[work.name] = result if work.grid is None else quantized(result, work.grid)
        return True

    def _linear(self, engine: Engine, work: Work, layer: Layer, bound: BoundLayer) -> bool:
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
            result = linear(engine, rows, bound)
        except RuntimeError as error:
            raise failed(layer, error) from error
        if bound.clip is not None:
            result.clamp_(*bound.clip)
        self._values[work.name] = result
        return True

    def _in_floats(self, work: Work) -> None:
        """The layer's own nodes, one after the other."""
        for step in work.steps:
            self._values[step.node.name] = self._call(step)
        for step in work.steps[:-1]:
            del self._values[step.node.name]

    def _plain(self, work: Work, step: Step) -> None:
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
            return replace(value, codes=greatest(value.codes, *args, **step.kwargs))
        kwargs = {key: self._fill(item) for key, item in step.kwargs.items()}
        return replace(value, codes=call_step(step, [value.codes, *args], kwargs))

    def _rows(self, work: Work, table: str) -> torch.Tensor:
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
