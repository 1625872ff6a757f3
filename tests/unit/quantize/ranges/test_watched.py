from __future__ import annotations

from dataclasses import replace

from common.graph.model import Dtype, Input, State, StateRef, ValueRef
from server.quantize.ranges.watched import watched_values
from tests.support.graphs import chain, node

GRAPH = replace(
    chain(
        node("vectors", "aten.embedding.default", StateRef("w"), ValueRef("words")),
        node("rows", "aten.reshape.default", ValueRef("vectors"), (-1, 4)),
        node("wide", "aten.linear.default", ValueRef("rows"), StateRef("w")),
        node("logs", "aten.log.default", ValueRef("wide")),
        node("cast", "aten._to_copy.default", ValueRef("logs"), dtype=Dtype("float64")),
        node("more", "aten.add.Tensor", ValueRef("x"), ValueRef("cast")),
        node("flat", "aten.flatten.using_ints", ValueRef("more")),
        node("end", "aten.exp.default", ValueRef("flat")),
        states=(State("w", "float32", (4, 4)),),
    ),
    inputs=(Input("x", "float32", (None, 4)), Input("words", "int64", (None,))),
)


def test_what_kernels_read_and_write_is_watched_where_it_first_comes_to_be() -> None:
    assert watched_values(GRAPH) == ("x", "vectors", "wide", "cast", "more")
