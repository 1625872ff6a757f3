"""A graph as canonical JSON, and back within bounds; compressed as one zstd frame."""

from __future__ import annotations

import json
import math
from typing import Any, Final

import zstandard

from common.errors import InvalidInputError
from common.graph import arguments
from common.graph.check import check_graph
from common.graph.model import DTYPES, Argument, Graph, Input, Node, Output, Range, Shape, State
from common.manifest import MAX_DIMENSIONS, MAX_ELEMENTS, canonical_json

FORMAT: Final = 1
MAX_NODES: Final = 100_000
MAX_JSON_BYTES: Final = 64 * 1024 * 1024
_MAX_ARGUMENTS: Final = 64
_ZSTD_LEVEL: Final = 19


def to_json(graph: Graph) -> bytes:
    """The canonical bytes of a graph."""
    ranges = [[item.value, item.low, item.high] for item in graph.ranges]
    return canonical_json(
        {
            **({"ranges": ranges} if ranges else {}),
            "format": FORMAT,
            "inputs": [[item.name, item.dtype, list(item.shape)] for item in graph.inputs],
            "states": [[item.name, item.dtype, list(item.shape)] for item in graph.states],
            "nodes": [_node_tree(node) for node in graph.nodes],
            "outputs": [
                [item.name, arguments.to_tree(item.source), item.dtype, list(item.shape)]
                for item in graph.outputs
            ],
        }
    )


def from_json(data: bytes | memoryview) -> Graph:
    """The graph that canonical bytes stand for; every reference in it is to something before it.

    Operators are not looked at: ``common.graph.ops.check_ops`` does that.

    Raises:
        InvalidInputError: Form, structure or limits are violated.
    """
    if len(data) > MAX_JSON_BYTES:
        raise InvalidInputError(f"The graph has more than {MAX_JSON_BYTES} bytes.")
    raw = bytes(data)
    try:
        tree = json.loads(raw)
        graph = _graph(tree)
    except (ValueError, RecursionError) as error:
        raise InvalidInputError(f"The graph is no JSON: {str(error)[:200]}.") from error
    check_graph(graph)
    if to_json(graph) != raw:
        raise InvalidInputError("The graph is not in canonical form.")
    return graph


def to_zstd(graph: Graph) -> bytes:
    """The canonical bytes as one zstd frame that states its content's size."""
    return zstandard.ZstdCompressor(level=_ZSTD_LEVEL).compress(to_json(graph))


def from_zstd(data: bytes | memoryview) -> Graph:
    """The graph in a zstd frame.

    Raises:
        InvalidInputError: It is no such frame, yields too much, or holds no graph.
    """
    try:
        reader = zstandard.ZstdDecompressor(max_window_size=1 << 27).stream_reader(data)
        raw = reader.read(MAX_JSON_BYTES + 1)
    except zstandard.ZstdError as error:
        raise InvalidInputError(f"The compressed graph is damaged: {error}.") from error
    return from_json(raw)


def _node_tree(node: Node) -> list[object]:
    kwargs = {key: arguments.to_tree(value) for key, value in node.kwargs.items()}
    return [node.name, node.op, node.layer, arguments.to_tree(node.args), kwargs]


def _graph(tree: object) -> Graph:
    keys = {"format", "inputs", "states", "nodes", "outputs"}
    if not isinstance(tree, dict) or set(tree) - {"ranges"} != keys:
        raise InvalidInputError(f"A graph has the keys {sorted(keys)}.")
    if tree["format"] != FORMAT:
        raise InvalidInputError(
            f"Graph format {tree['format']!r} is not known; this side reads {FORMAT}.",
            advice="Update the agent.",
        )
    return Graph(
        inputs=tuple(Input(*_tensor(item)) for item in _items(tree["inputs"])),
        states=tuple(_state(item) for item in _items(tree["states"])),
        nodes=tuple(_node(item) for item in _items(tree["nodes"])),
        outputs=tuple(_output(item) for item in _items(tree["outputs"])),
        ranges=tuple(_range(item) for item in _items(tree.get("ranges", []))),
    )


def _tensor(tree: object) -> tuple[str, str, Shape]:
    name, dtype, shape = _fields(tree, 3)
    return arguments.text(name), arguments.one_of(dtype, DTYPES), _shape(shape)


def _state(tree: object) -> State:
    name, dtype, shape = _tensor(tree)
    sizes = tuple(size for size in shape if size is not None)
    if len(sizes) != len(shape):
        raise InvalidInputError(f"State {name!r} has an open shape.")
    return State(name, dtype, sizes)


def _node(tree: object) -> Node:
    name, op, layer, args, kwargs = _fields(tree, 5)
    if not isinstance(args, list) or not isinstance(kwargs, dict) or len(args) + len(kwargs) > _MAX_ARGUMENTS:
        raise InvalidInputError("A node's arguments are no list and object, or too many.")
    return Node(
        name=arguments.text(name),
        op=arguments.text(op),
        layer=arguments.text(layer, empty=True),
        args=tuple(arguments.from_tree(item) for item in args),
        kwargs={_keyword(key): arguments.from_tree(value) for key, value in kwargs.items()},
    )


def _keyword(key: str) -> str:
    if not key.isidentifier() or not key.isascii():
        raise InvalidInputError(f"{key[:80]!r} is no keyword.")
    return arguments.text(key)


def _output(tree: object) -> Output:
    name, source, dtype, shape = _fields(tree, 4)
    return Output(
        arguments.text(name), arguments.reference(source), arguments.one_of(dtype, DTYPES), _shape(shape)
    )


def _range(tree: object) -> Range:
    value, low, high = _fields(tree, 3)
    if type(low) is not float or type(high) is not float:
        raise InvalidInputError("The bounds of a range are floats.")
    return Range(arguments.text(value), low, high)


def _shape(tree: object) -> Shape:
    sizes = _items(tree, MAX_DIMENSIONS)
    for size in sizes:
        if size is not None and (type(size) is not int or not 0 <= size <= MAX_ELEMENTS):
            raise InvalidInputError("A shape holds sizes and nulls.")
    if math.prod(size for size in sizes if size is not None) > MAX_ELEMENTS:
        raise InvalidInputError("A tensor is too large.")
    return tuple(sizes)


def _items(tree: object, limit: int = MAX_NODES) -> list[Any]:
    if not isinstance(tree, list) or len(tree) > limit:
        raise InvalidInputError(f"A list of at most {limit} items was expected.")
    return tree


def _fields(tree: object, count: int) -> list[Argument | Any]:
    if not isinstance(tree, list) or len(tree) != count:
        raise InvalidInputError(f"A record of {count} fields was expected.")
    return tree
