"""The computation of a model as frozen values: what goes in, what is stored, what is done, what comes out.

Every value has one name. Inputs and nodes share a namespace, states (weights, buffers, constants) have their
own. A node only refers to what stands before it, so the order of ``Graph.nodes`` is an order of execution.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final, TypeAlias

FLOAT_DTYPES: Final = frozenset({"float16", "bfloat16", "float32", "float64"})
DTYPES: Final = FLOAT_DTYPES | {"bool", "uint8", "int8", "int16", "int32", "int64"}
MEMORY_FORMATS: Final = frozenset(
    {"contiguous_format", "channels_last", "channels_last_3d", "preserve_format"}
)

# Sizes of axes; None for one that the batch determines.
Shape: TypeAlias = "tuple[int | None, ...]"


@dataclass(frozen=True, slots=True)
class ValueRef:
    """What an input or a node holds at run time."""

    name: str


@dataclass(frozen=True, slots=True)
class StateRef:
    """A weight, buffer or constant."""

    name: str


@dataclass(frozen=True, slots=True)
class Dtype:
    """An element type as an argument, e.g. of a cast; one of ``DTYPES``."""

    name: str


@dataclass(frozen=True, slots=True)
class MemoryFormat:
    """A memory format as an argument; one of ``MEMORY_FORMATS``."""

    name: str


Argument: TypeAlias = (
    "bool | int | float | str | ValueRef | StateRef | Dtype | MemoryFormat | tuple[Argument, ...] | None"
)


@dataclass(frozen=True, slots=True)
class Input:
    """A tensor that a request brings; axis 0 is the batch and of any size."""

    name: str
    dtype: str
    shape: Shape


@dataclass(frozen=True, slots=True)
class State:
    """A tensor that comes with the version: parameter, buffer or constant; shared ones once."""

    name: str
    dtype: str
    shape: tuple[int, ...]

    @property
    def is_float(self) -> bool:
        """Whether its elements are floating point."""
        return self.dtype in FLOAT_DTYPES


@dataclass(frozen=True, slots=True)
class Node:
    """One call of an operator.

    Attributes:
        name: Of the value that it yields.
        op: Of ``common.graph.ops``, e.g. "aten.linear.default".
        layer: Path of the module that it came from, for messages; "" for the model itself.
        args, kwargs: As the operator's schema wants them.
    """

    name: str
    op: str
    layer: str
    args: tuple[Argument, ...]
    kwargs: Mapping[str, Argument]

    def references(self) -> Iterator[ValueRef | StateRef]:
        """Everything that it reads, in order of its arguments; one may come twice."""
        yield from references(self.args)
        for argument in self.kwargs.values():
            yield from references(argument)


@dataclass(frozen=True, slots=True)
class Output:
    """A tensor that an answer holds.

    Attributes:
        name: The model's own key, or "output_0", "output_1"…
        source: The value, input or state that it is.
        dtype, shape: As the model yields it.
    """

    name: str
    source: ValueRef | StateRef
    dtype: str
    shape: Shape


@dataclass(frozen=True, slots=True)
class Range:
    """Between what an input or a node's value lies, for kernels of 8-bit numbers; beyond it they clip.

    Attributes:
        value: Name of the input or node.
        low: At most 0.
        high: At least 0, and above ``low``.
    """

    value: str
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Graph:
    """The whole computation.

    Attributes:
        inputs, states, nodes, outputs: What is computed.
        ranges: What is known of values before they are; ``common.graph.ranges`` reads them. A value without
            one has to stay float.
    """

    inputs: tuple[Input, ...]
    states: tuple[State, ...]
    nodes: tuple[Node, ...]
    outputs: tuple[Output, ...]
    ranges: tuple[Range, ...] = ()


def references(argument: Argument) -> Iterator[ValueRef | StateRef]:
    """Everything that an argument reads, from left to right."""
    if isinstance(argument, ValueRef | StateRef):
        yield argument
    elif isinstance(argument, tuple):
        for item in argument:
            yield from references(item)
