"""A graph becomes something that runs, layer by layer, with weights from wherever they live.

The nodes are interpreted: no code is generated from what was received, and no name in it is looked up
anywhere but in the list of allowed operators.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch

from common.errors import CapacityError, IntegrityError, InvalidInputError, UnsupportedModelError
from common.graph.check import check_graph
from common.graph.model import Argument, Dtype, Graph, MemoryFormat, Node, State, StateRef, ValueRef
from common.graph.operators import resolve
from common.graph.ops import place


class StateSource(Protocol):
    """Where weights, buffers and constants come from."""

    def tensor(self, name: str) -> torch.Tensor:
        """A state by its name; asked for right before each use, and dropped after it."""
        ...


@dataclass(frozen=True, slots=True)
class _Slot:
    """Position of a value among a run's values."""

    index: int


@dataclass(frozen=True, slots=True)
class _Step:
    """A node, ready to run: its callable, arguments with slots and states in them, and what ends with it."""

    node: Node
    function: Callable[..., Any]
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    target: int
    frees: tuple[int, ...]


class Runner:
    """A model that answers; holds no weights and no state between calls, so threads may share it."""

    def __init__(self, graph: Graph) -> None:
        check_graph(graph)
        names = [*(item.name for item in graph.inputs), *(node.name for node in graph.nodes)]
        self._slots = {name: index for index, name in enumerate(names)}
        self._states = {state.name: state for state in graph.states}
        self._inputs = tuple(item.name for item in graph.inputs)
        self._outputs = tuple(self._template(output.source) for output in graph.outputs)
        self._steps = self._plan(graph)

    def __call__(self, source: StateSource, *inputs: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """The outputs in the graph's order.

        Args:
            source: Gives every state that the graph names; floats are cast to the graph's dtype.
            inputs: In the graph's order, as ``common.graph.inputs.check_inputs`` accepts them.

        Raises:
            InvalidInputError: There are more or fewer inputs than the model takes.
            IntegrityError: A state has another shape than the graph states.
            UnsupportedModelError: An operator fails; names it and its layer.
            CapacityError: An operator finds no memory.
        """
        if len(inputs) != len(self._inputs):
            raise InvalidInputError(f"The model takes {len(self._inputs)} inputs, not {len(inputs)}.")
        values: list[Any] = [*inputs, *([None] * len(self._steps))]
        with torch.inference_mode():
            for step in self._steps:
                args = [self._fill(item, values, source) for item in step.args]
                kwargs = {key: self._fill(item, values, source) for key, item in step.kwargs.items()}
                values[step.target] = _call(step, args, kwargs)
                for index in step.frees:
                    values[index] = None
            return tuple(self._fill(item, values, source) for item in self._outputs)

    def _plan(self, graph: Graph) -> tuple[_Step, ...]:
        last = dict.fromkeys(range(len(self._slots)), -1)
        for index, node in enumerate(graph.nodes):
            last[self._slots[node.name]] = index
            last |= {
                self._slots[item.name]: index for item in node.references() if isinstance(item, ValueRef)
            }
        for output in graph.outputs:
            if isinstance(output.source, ValueRef):
                last[self._slots[output.source.name]] = -1
        ends: dict[int, list[int]] = {}
        for slot, index in last.items():
            ends.setdefault(index, []).append(slot)
        return tuple(self._step(node, ends.get(index, ())) for index, node in enumerate(graph.nodes))

    def _step(self, node: Node, frees: Sequence[int]) -> _Step:
        return _Step(
            node=node,
            function=resolve(node.op, node.layer),
            args=tuple(self._template(argument) for argument in node.args),
            kwargs={key: self._template(argument) for key, argument in node.kwargs.items()},
            target=self._slots[node.name],
            frees=tuple(frees),
        )

    def _template(self, argument: Argument) -> Any:
        match argument:
            case ValueRef(name):
                return _Slot(self._slots[name])
            case StateRef(name):
                return self._states[name]
            case Dtype(name) | MemoryFormat(name):
                return getattr(torch, name)
            case tuple():
                return [self._template(item) for item in argument]
            case _:
                return argument

    def _fill(self, template: Any, values: list[Any], source: StateSource) -> Any:
        if isinstance(template, _Slot):
            return values[template.index]
        if isinstance(template, State):
            return _load(template, source)
        if isinstance(template, list):
            return [self._fill(item, values, source) for item in template]
        return template


def build(graph: Graph) -> Runner:
    """The runner of a graph.

    Raises:
        InvalidInputError: The graph is not whole.
        UnsupportedModelError: An operator is not allowed, or not in this torch.
    """
    return Runner(graph)


def _load(state: State, source: StateSource) -> torch.Tensor:
    tensor = source.tensor(state.name)
    if tuple(tensor.shape) != state.shape:
        raise IntegrityError(
            f"Tensor {state.name!r} has another shape than the graph states.",
            expected=str(list(state.shape)),
            actual=str(list(tensor.shape)),
        )
    return tensor.to(getattr(torch, state.dtype))


def _call(step: _Step, args: list[Any], kwargs: dict[str, Any]) -> Any:
    try:
        return step.function(*args, **kwargs)
    except (RuntimeError, TypeError, ValueError, IndexError, OverflowError, NotImplementedError) as error:
        reason = str(error).partition("\n")[0][:300]
        message = f"Operator {step.node.op!r} in {place(step.node.layer)} failed: {reason}"
        if "alloc" in reason:
            raise CapacityError(message, advice="Send a smaller batch.") from error
        raise UnsupportedModelError(message) from error
