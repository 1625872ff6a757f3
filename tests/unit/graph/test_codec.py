from __future__ import annotations

import contextlib
import json
from dataclasses import replace
from typing import Any

import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from common.errors import InvalidInputError
from common.graph import codec
from common.graph.codec import from_json, from_zstd, to_json, to_zstd
from common.graph.model import Graph, Node, Range, ValueRef
from common.manifest import canonical_json
from tests.support.graphs import chain, graphs, node

SIMPLE = chain(node("y0", "aten.relu.default", ValueRef("x")))


def _tree() -> Any:
    return json.loads(to_json(SIMPLE))


@settings(max_examples=50)
@given(graphs())
def test_json_and_zstd_give_back_the_graph(graph: Graph) -> None:
    assert from_json(to_json(graph)) == graph
    assert from_zstd(to_zstd(graph)) == graph


def test_a_graph_without_ranges_says_nothing_of_them_and_one_with_them_stays_small() -> None:
    assert b"ranges" not in to_json(SIMPLE)
    nodes = [node(f"relu_{i}", "aten.relu.default", ValueRef("x")) for i in range(300)]
    graph = chain(*nodes)
    ranged = replace(graph, ranges=tuple(Range(n.name, -1.2345 * i, 3.14159) for i, n in enumerate(nodes)))
    assert from_json(to_json(ranged)) == ranged
    assert len(to_zstd(ranged)) - len(to_zstd(graph)) < 3000


RANGED = replace(SIMPLE, ranges=(Range("x", -1.5, 2.5),))


@pytest.mark.parametrize(
    "spoilt",
    [
        b"[]",
        b"{}",
        b"null",
        b'[["x",-1.5]]',
        b'[["x",-1.5,2.5,0.0]]',
        b'[["x",-1,2]]',
        b'[["x",true,2.5]]',
        b'[["x",null,2.5]]',
        b'[["x",-1.5,"2.5"]]',
        b'[["x",-1.5,1e999]]',
        b'[["x",-1.5,NaN]]',
        b'[["x",-1.5,1e38]]',
        b'[["x",0.5,2.5]]',
        b'[["x",-1.5,-0.5]]',
        b'[["x",0.0,0.0]]',
        b'[["x",0.0,1e-40]]',
        b'[["%x",-1.5,2.5]]',
        b'[["z",-1.5,2.5]]',
        b'[["",-1.5,2.5]]',
        b'[["x",-1.5,2.5],["x",-1.5,2.5]]',
        b'[["x",-1.50,2.5]]',
        b'["x",-1.5,2.5]',
    ],
)
def test_ranges_out_of_bounds_or_form_are_refused(spoilt: bytes) -> None:
    data = to_json(RANGED)
    assert from_json(data) == RANGED
    with pytest.raises(InvalidInputError):
        from_json(data.replace(b'[["x",-1.5,2.5]]', spoilt))


def test_infinity_and_nan_survive_as_arguments() -> None:
    graph = chain(node("y0", "aten.full.default", (float("inf"), float("-inf"), float("nan")), ValueRef("x")))
    assert to_json(from_json(to_json(graph))) == to_json(graph)


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=8,
)


@settings(max_examples=50)
@given(st.data(), graphs(), _JSON)
def test_any_part_replaced_by_anything_is_a_graph_or_an_invalid_input(
    data: st.DataObject, graph: Graph, junk: object
) -> None:
    tree: Any = json.loads(to_json(graph))
    parent, key = tree, data.draw(st.sampled_from(sorted(tree)))
    while isinstance(parent[key], list | dict) and parent[key] and data.draw(st.booleans()):
        parent = parent[key]
        keys = sorted(parent) if isinstance(parent, dict) else range(len(parent))
        key = data.draw(st.sampled_from(keys))
    parent[key] = junk
    try:
        found = from_json(json.dumps(tree, sort_keys=True, separators=(",", ":")).encode())
    except InvalidInputError:
        return
    assert from_json(to_json(found)) == found


@given(st.binary(max_size=200))
def test_bytes_at_random_are_refused(data: bytes) -> None:
    with pytest.raises(InvalidInputError):
        from_json(data)
    with pytest.raises(InvalidInputError):
        from_zstd(data)


@given(st.integers(0, 10_000), st.integers(1, 255))
def test_a_flipped_byte_gives_no_other_error_than_invalid_input(at: int, flip: int) -> None:
    data = bytearray(to_json(SIMPLE))
    data[at % len(data)] ^= flip
    with contextlib.suppress(InvalidInputError):
        from_json(bytes(data))


@pytest.mark.parametrize(
    "spoilt",
    [
        b" " + to_json(SIMPLE),
        to_json(SIMPLE) + b"\n",
        to_json(SIMPLE).replace(b'"format":1', b'"format":1,"format":1'),
        to_json(SIMPLE).replace(b'"format":1', b'"format":2'),
        to_json(SIMPLE).replace(b'"format":1', b'"format":1.0'),
        to_json(SIMPLE).replace(b'"%x"', b"NaN"),
        to_json(SIMPLE).replace(b'"%x"', b"1e999"),
        to_json(SIMPLE).replace(b'"%x"', b"9223372036854775808"),
        to_json(SIMPLE).replace(b'"%x"', b"1" * 5000),
        to_json(SIMPLE).replace(b'"%x"', b'"\\ud800"'),
        to_json(SIMPLE).replace(b'"%x"', b'"%\\ud800"'),
        to_json(SIMPLE).replace(b'"%x"', b'{"dtype":"Tensor"}'),
        to_json(SIMPLE).replace(b'"%x"', b'{"memory_format":"nn"}'),
        to_json(SIMPLE).replace(b'"%x"', b'{"float":"1"}'),
        to_json(SIMPLE).replace(b'"%x"', b'{"float":["inf"]}'),
        to_json(SIMPLE).replace(b'"%x"', b"[" * 20 + b"]" * 20),
        to_json(SIMPLE).replace(b'"%x"', b"[" * 100_000 + b"]" * 100_000),
        to_json(SIMPLE).replace(b'"%x"', b'"%y0"'),
        to_json(SIMPLE).replace(b'"a.b"', b'"a\\nb"'),
        to_json(SIMPLE).replace(b",{}]]", b',{"a b":1}]]'),
    ],
)
def test_what_is_not_canonical_or_out_of_bounds_is_refused(spoilt: bytes) -> None:
    assert spoilt != to_json(SIMPLE)
    with pytest.raises(InvalidInputError):
        from_json(spoilt)


def test_more_nodes_than_allowed_are_refused() -> None:
    tree = _tree()
    tree["nodes"] = [[f"n{i}", "aten.relu.default", "", ["%x"], {}] for i in range(codec.MAX_NODES + 1)]
    tree["outputs"][0][1] = "%n0"
    with pytest.raises(InvalidInputError, match="at most 100000 items"):
        from_json(canonical_json(tree))


def test_a_frame_that_yields_too_much_is_refused_without_filling_memory() -> None:
    bomb = zstandard.ZstdCompressor(level=1).compress(b" " * (codec.MAX_JSON_BYTES + 1))
    with pytest.raises(InvalidInputError, match="more than"):
        from_zstd(bomb)


def test_a_cut_frame_is_refused() -> None:
    data = to_zstd(SIMPLE)
    for size in range(len(data)):
        with pytest.raises(InvalidInputError):
            from_zstd(data[:size])


def test_long_graphs_stay_small_on_the_wire() -> None:
    nodes = [
        Node(f"relu_{i}", "aten.relu.default", f"layer.{i // 9}", (ValueRef("x"),), {}) for i in range(900)
    ]
    assert len(to_zstd(chain(*nodes))) < 6000
