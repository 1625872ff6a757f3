"""A graph becomes something that runs, layer by layer, with weights from wherever they live.

The nodes are interpreted: no code is generated from what was received, and no name in it is looked up
anywhere but in the list of allowed operators.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias

import torch

from common.errors import CapacityError, IntegrityError, InvalidInputError, UnsupportedModelError
from common.graph.check import check_graph
from common.graph.model import Argument, Dtype, Graph, MemoryFormat, Node, State, StateRef, ValueRef
from common.graph.operators import resolve
from common.graph.ops import place
from common.graph.plan import Lifetimes, lifetimes

# Name of an input or node, and its value.
Watch: TypeAlias = Callable[[str, torch.Tensor], None]


class StateSource(Protocol):
    """Where weights, buffers and constants come from."""

    def tensor(self, name: str) -> torch.Tensor:
        """A state by its name; asked for right before each use, and dropped after it."""
        ...


@dataclass(frozen=True, slots=True)
class Step:
    """A node, ready to run; references stay in its arguments, torch's own values are filled in."""

    node: Node
    function: Callable[..., Any]
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    lifetimes: Lifetimes


class Runner:
    """A model that answers; holds no weights and no state between calls, so threads may share it."""

    def __init__(self, graph: Graph) -> None:
        check_graph(graph)
        self._graph = graph
        self._states = {state.name: state for state in graph.states}
        self._steps = tuple(
            make_step(node, ends) for node, ends in zip(graph.nodes, lifetimes(graph), strict=True)
        )

    def __call__(
        self, source: StateSource, *inputs: torch.Tensor, watch: Watch | None = None
    ) -> tuple[torch.Tensor, ...]:
        """The outputs in the graph's order.

        Args:
            source: Gives every state that the graph names; floats are cast to the graph's dtype.
            inputs: In the graph's order, as ``common.graph.inputs.check_inputs`` accepts them.
            watch: Shown each input and each node's value that is a tensor, as it comes to be; not to be kept
                or changed.

        Raises:
            InvalidInputError: There are more or fewer inputs than the model takes.
            IntegrityError: A state has another shape than the graph states.
            UnsupportedModelError: An operator fails; names it and its layer.
            CapacityError: An operator finds no memory.
        """
        run = self.start(source, *inputs, watch=watch)
        with torch.inference_mode():
            while run.advance():
                pass
            return tuple(_tensor(run.fill(output.source), output.name) for output in self._graph.outputs)

    def start(self, source: StateSource, *inputs: torch.Tensor, watch: Watch | None = None) -> Run:
        """An answer in the making, of which nothing is computed yet. Arguments and errors as in a call."""
        if len(inputs) != len(self._graph.inputs):
            raise InvalidInputError(f"The model takes {len(self._graph.inputs)} inputs, not {len(inputs)}.")
        values = dict(zip((item.name for item in self._graph.inputs), inputs, strict=True))
        if watch:
            for name, value in values.items():
                watch(name, value)
        return Run(self._steps, source, self._states, values, watch=watch)


def build(graph: Graph) -> Runner:
    """The runner of a graph.

    Raises:
        InvalidInputError: The graph is not whole.
        UnsupportedModelError: An operator is not allowed, or not in this torch.
    """
    return Runner(graph)


class Run:
    """One answer in the making, node by node: the values and states that are alive."""

    def __init__(
        self,
        steps: Sequence[Step],
        source: StateSource,
        states: Mapping[str, State],
        values: dict[str, Any],
        *,
        watch: Watch | None,
    ) -> None:
        self._steps = steps
        self._watch = watch
        self._next = 0
        self._source = source
        self._states = states
        self._values = values
        self._held: dict[str, torch.Tensor] = {}

    @property
    def values(self) -> Mapping[str, Any]:
        """What inputs and nodes hold, as far as a node to come needs it."""
        return self._values

    def advance(self) -> bool:
        """One more node is computed; whether there was one. Raises as a call of the runner does."""
        if self._next == len(self._steps):
            return False
        self._take(self._steps[self._next])
        self._next += 1
        return True

    def _take(self, step: Step) -> None:
        for name in step.lifetimes.holds:
            self._held[name] = self._state(name)
        args = [self.fill(item) for item in step.args]
        kwargs = {key: self.fill(item) for key, item in step.kwargs.items()}
        value = self._values[step.node.name] = call_step(step, args, kwargs)
        if self._watch and isinstance(value, torch.Tensor):
            self._watch(step.node.name, value)
        for name in step.lifetimes.drops:
            self._held.pop(name, None)
        for name in step.lifetimes.frees:
            del self._values[name]

    def fill(self, template: Any) -> Any:
        """An argument with what its references stand for."""
        if isinstance(template, ValueRef):
            return self._values[template.name]
        if isinstance(template, StateRef):
            return self._state(template.name)
        if isinstance(template, list):
            return [self.fill(item) for item in template]
        return template

    def _state(self, name: str) -> torch.Tensor:
        held = self._held.get(name)
        return load_state(self._states[name], self._source) if held is None else held


def make_step(node: Node, ends: Lifetimes) -> Step:
    """A node that is ready to run.

    Raises:
        UnsupportedModelError: The operator is not allowed, or not in this torch.
    """
    args = tuple(_template(argument) for argument in node.args)
    kwargs = {key: _template(argument) for key, argument in node.kwargs.items()}
    return Step(node, resolve(node.op, node.layer), args, kwargs, ends)


def _template(argument: Argument) -> Any:
    match argument:
        case Dtype(name) | MemoryFormat(name):
            return getattr(torch, name)
        case tuple():
            return [_template(item) for item in argument]
        case _:
            return argument


def load_state(state: State, source: StateSource) -> torch.Tensor:
    """A state in the graph's type.

    Raises:
        IntegrityError: It has another shape than the graph states.
    """
    tensor = source.tensor(state.name)
    if tuple(tensor.shape) != state.shape:
        raise IntegrityError(
            f"Tensor {state.name!r} has another shape than the graph states.",
            expected=str(list(state.shape)),
            actual=str(list(tensor.shape)),
        )
    return tensor.to(getattr(torch, state.dtype))


def call_step(step: Step, args: list[Any], kwargs: dict[str, Any]) -> Any:
    """What the operator yields.

    Raises:
        UnsupportedModelError: It fails; names it and its layer.
        CapacityError: It finds no memory.
    """
    try:
        return step.function(*args, **kwargs)
    except (RuntimeError, TypeError, ValueError, LookupError, ArithmeticError, MemoryError) as error:
        reason = str(error).partition("\n")[0][:300]
        message = f"Operator {step.node.op!r} in {place(step.node.layer)} failed: {reason}"
        if isinstance(error, MemoryError) or "alloc" in reason:
            raise CapacityError(message, advice="Send a smaller batch.") from error
        raise UnsupportedModelError(message) from error


def _tensor(value: Any, name: str) -> torch.Tensor:
    if not isinstance(value, torch.Tensor):
        raise UnsupportedModelError(f"Output {name!r} of the graph is no tensor.")
    return value
