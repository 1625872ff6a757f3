"""Which nodes of a graph one integer kernel does together: convolution, norm, addition, activation. Pure.

A convolution or linear layer with a quantized weight takes along what follows it and is nobody else's: a
batch norm, the addition of another 8-bit value (a shortcut), and an activation that only clips. The rest of
the graph stays as it is.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, replace
from typing import Final, Literal, TypeAlias

from common.graph.model import Argument, Graph, Node, StateRef, ValueRef
from common.graph.ops import GETITEM
from common.graph.uses import quantizable_states

Kind: TypeAlias = Literal["convolution", "linear"]

_CONVOLUTION: Final = "aten.convolution.default"
_LINEAR: Final = "aten.linear.default"
_NORM: Final = "aten._native_batch_norm_legit_no_training.default"
_ADD: Final = "aten.add.Tensor"
_FLOAT32: Final = "float32"  # what kernels give
_PLANE_AXES: Final = 4  # of the weight of a convolution over two axes
_MATRIX_AXES: Final = 2


@dataclass(frozen=True, slots=True)
class Geometry:
    """Of a convolution over two axes; each pair is (height, width)."""

    stride: tuple[int, int] = (1, 1)
    padding: tuple[int, int] = (0, 0)
    dilation: tuple[int, int] = (1, 1)
    groups: int = 1


@dataclass(frozen=True, slots=True)
class Norm:
    """A batch norm by fixed statistics: names of its states, each None where it has none."""

    gain: str | None
    shift: str | None
    mean: str
    variance: str
    epsilon: float


@dataclass(frozen=True, slots=True)
class Layer:
    """Nodes that one kernel does.

    Attributes:
        kind: What its first node is.
        weight: State of that node; quantized, and read by nothing else.
        bias: Its bias; None without.
        geometry: Of a convolution.
        source: The value that it reads.
        norm: What scales and shifts each channel; None without.
        added: The value that is added before the activation; None without.
        low, high: What the activation clips to; infinite without.
        nodes: Indices of all nodes that it stands for, ascending; the first is the convolution.
        value: What it yields: the name of its last node.
    """

    kind: Kind
    weight: str
    bias: str | None
    geometry: Geometry
    source: str
    norm: Norm | None
    added: str | None
    low: float
    high: float
    nodes: tuple[int, ...]
    value: str

    @property
    def states(self) -> tuple[str, ...]:
        """Everything that it reads beside values, the weight first."""
        norm = self.norm
        names = (norm.gain, norm.shift, norm.mean, norm.variance) if norm else ()
        return tuple(name for name in (self.weight, self.bias, *names) if name is not None)


def find_layers(graph: Graph, addable: AbstractSet[str] = frozenset()) -> tuple[Layer, ...]:
    """The layers that a kernel could do, in the order of their first nodes.

    Args:
        graph: The computation.
        addable: Additions (names of their values) that may become part of a layer.
    """
    readers = _readers(graph)
    quantized = set(quantizable_states(graph))
    shapes = {state.name: state.shape for state in graph.states}
    single = {state.name for state in graph.states if state.dtype == _FLOAT32}
    states = Counter(name for node in graph.nodes for name in _state_names(node))
    begun = [
        layer
        for index, node in enumerate(graph.nodes)
        if (layer := _begin(index, node, shapes)) is not None
        and layer.weight in quantized
        and layer.weight in single
        and states[layer.weight] == 1
    ]
    normed = [_with_norm(layer, graph, readers) for layer in begun]
    return tuple(_with_rest(normed, graph, readers, addable))


def _readers(graph: Graph) -> Mapping[str, tuple[int, ...]]:
    """Value to the nodes that read it; an output counts as a reader that is no node."""
    found: dict[str, list[int]] = {}
    for index, node in enumerate(graph.nodes):
        for name in _value_names(node):
            found.setdefault(name, []).append(index)
    for output in graph.outputs:
        if isinstance(output.source, ValueRef):
            found.setdefault(output.source.name, []).append(-1)
    return {name: tuple(dict.fromkeys(indices)) for name, indices in found.items()}


def _begin(index: int, node: Node, shapes: Mapping[str, tuple[int, ...]]) -> Layer | None:
    source, weight, bias = (*node.args, None, None, None)[:3]
    if not (isinstance(source, ValueRef) and isinstance(weight, StateRef)) or node.kwargs:
        return None
    if bias is not None and not isinstance(bias, StateRef):
        return None
    geometry = _geometry(node, len(shapes[weight.name]))
    if geometry is None:
        return None
    return Layer(
        kind="linear" if node.op == _LINEAR else "convolution",
        weight=weight.name,
        bias=bias.name if bias else None,
        geometry=geometry,
        source=source.name,
        norm=None,
        added=None,
        low=-math.inf,
        high=math.inf,
        nodes=(index,),
        value=node.name,
    )


def _geometry(node: Node, axes: int) -> Geometry | None:
    """Of a node that a kernel could do; None for any other."""
    if node.op == _LINEAR and axes == _MATRIX_AXES:
        return Geometry()
    if node.op != _CONVOLUTION or axes != _PLANE_AXES:
        return None
    stride, padding, dilation, transposed, output_padding, groups = node.args[3:]
    pairs = [_pair(item) for item in (stride, padding, dilation)]
    if transposed is not False or any(_pair(output_padding) or (1,)) or type(groups) is not int:
        return None
    first, second, third = pairs
    return Geometry(first, second, third, groups) if first and second and third else None


def _pair(item: Argument) -> tuple[int, int] | None:
    match item:
        case (int(one),):
            return one, one
        case (int(one), int(other)):
            return one, other
    return None


def _with_norm(layer: Layer, graph: Graph, readers: Mapping[str, tuple[int, ...]]) -> Layer:
    index = _only_reader(layer.value, readers)
    node = graph.nodes[index] if index is not None else None
    if (
        layer.kind != "convolution"
        or index is None
        or node is None
        or node.op != _NORM
        or node.args[0] != ValueRef(layer.value)
    ):
        return layer
    gain, shift, mean, variance, _, epsilon = node.args[1:]
    taken = _only_reader(node.name, readers)
    if taken is None or not isinstance(epsilon, float):
        return layer
    if not (isinstance(mean, StateRef) and isinstance(variance, StateRef)):
        return layer
    if isinstance(gain, ValueRef) or isinstance(shift, ValueRef):
        return layer  # computed: nobody knows them before a request
    result = graph.nodes[taken]
    if result.op != GETITEM or result.args[1] != 0:
        return layer
    norm = Norm(_name(gain), _name(shift), mean.name, variance.name, epsilon)
    return replace(layer, norm=norm, nodes=(*layer.nodes, index, taken), value=result.name)


def _with_rest(
    layers: Iterable[Layer], graph: Graph, readers: Mapping[str, tuple[int, ...]], addable: AbstractSet[str]
) -> Iterator[Layer]:
    """Additions go to the last layer that could take them: the other operand is there by then."""
    layers = list(layers)
    takers: dict[int, int] = {}
    for at, layer in enumerate(layers):
        index = _addition(layer, graph, readers, addable)
        if index is not None:
            takers[index] = at
    for at, layer in enumerate(layers):
        index = _only_reader(layer.value, readers)
        if index is not None and takers.get(index) == at:
            node = graph.nodes[index]
            other = next(item.name for item in node.references() if item.name != layer.value)
            layer = replace(layer, added=other, nodes=(*layer.nodes, index), value=node.name)  # noqa: PLW2901
        yield _with_activation(layer, graph, readers)


def _addition(
    layer: Layer, graph: Graph, readers: Mapping[str, tuple[int, ...]], addable: AbstractSet[str]
) -> int | None:
    """The node that adds another value to what the layer yields, and nothing else."""
    index = _only_reader(layer.value, readers)
    if index is None or layer.kind != "convolution":
        return None
    node = graph.nodes[index]
    if node.op != _ADD or node.name not in addable or node.kwargs:
        return None
    one, other = node.args
    if not (isinstance(one, ValueRef) and isinstance(other, ValueRef)) or one == other:
        return None
    return index


def _with_activation(layer: Layer, graph: Graph, readers: Mapping[str, tuple[int, ...]]) -> Layer:
    index = _only_reader(layer.value, readers)
    bounds = _bounds(graph.nodes[index]) if index is not None else None
    if index is None or bounds is None:
        return layer
    low, high = bounds
    nodes = (*layer.nodes, index)
    return replace(layer, low=low, high=high, nodes=nodes, value=graph.nodes[index].name)


def _bounds(node: Node) -> tuple[float, float] | None:
    """What a node clips its first argument to; None for one that does anything else."""
    if node.kwargs or not all(item is None or isinstance(item, int | float) for item in node.args[1:]):
        return None
    low, high = (*node.args[1:], None, None)[:2]
    bounds = {
        "aten.relu.default": (0.0, math.inf),
        "aten.relu6.default": (0.0, 6.0),
        "aten.hardtanh.default": (_number(low, -1.0), _number(high, 1.0)),
        "aten.clamp.default": (_number(low, -math.inf), _number(high, math.inf)),
        "aten.clamp_min.default": (_number(low, -math.inf), math.inf),
    }
    return bounds.get(node.op)


def _number(argument: Argument, default: float) -> float:
    return float(argument) if isinstance(argument, int | float) else default


def _only_reader(name: str, readers: Mapping[str, tuple[int, ...]]) -> int | None:
    found = readers.get(name, ())
    return found[0] if len(found) == 1 and found[0] >= 0 else None


def _name(argument: Argument) -> str | None:
    return argument.name if isinstance(argument, StateRef) else None


def _value_names(node: Node) -> Iterator[str]:
    return (item.name for item in node.references() if isinstance(item, ValueRef))


def _state_names(node: Node) -> Iterator[str]:
    return (item.name for item in node.references() if isinstance(item, StateRef))
