from __future__ import annotations

import itertools
import math
from collections.abc import Iterator

import torch
from hypothesis import given
from hypothesis import strategies as st

from common.graph.layout import Axis, Layout, contiguous, merged, permuted, reshaped, sliced, without
from common.graph.model import Dtype, Node, ValueRef
from common.graph.operators import resolve
from common.graph.views import View, is_view, view
from tests.support.graphs import node

X = ValueRef("x")


def _offsets(axis: Axis) -> list[int]:
    steps = [range(0, size * stride, stride) if stride else [0] * size for size, stride in axis]
    return [sum(point) for point in itertools.product(*steps)]


def elements(layout: Layout) -> list[int]:
    """Where the elements of a view lie, in row-major order."""
    return [
        layout.start + sum(point) for point in itertools.product(*(_offsets(axis) for axis in layout.axes))
    ]


def _splits(size: int) -> list[int]:
    return [part for part in range(1, size + 1) if size % part == 0]


@st.composite
def view_nodes(draw: st.DrawFn, shape: tuple[int, ...]) -> Node:
    """An operator of shape that makes sense for a tensor of this shape."""
    axis = draw(st.integers(-len(shape), len(shape) - 1))
    size = shape[axis]
    part = draw(st.sampled_from(_splits(size)))
    start = draw(st.integers(0, size - 1))
    cut = (*shape[: axis % len(shape)], part, size // part, *shape[axis % len(shape) + 1 :])
    joined = (math.prod(shape[:2]), *shape[2:])
    sizes = tuple(draw(st.sampled_from([known, -1])) if known > 1 else 3 for known in shape)
    return draw(
        st.sampled_from(
            [
                node("v", "aten.permute.default", X, tuple(draw(st.permutations(range(len(shape)))))),
                node("v", "aten.transpose.int", X, axis, draw(st.integers(0, len(shape) - 1))),
                node("v", "aten.reshape.default", X, cut),
                node("v", "aten.reshape.default", X, joined),
                node("v", "aten.unsqueeze.default", X, axis),
                node("v", "aten.squeeze.dims", X, (axis,)),
                node("v", "aten.squeeze.default", X),
                node("v", "aten.expand.default", X, (2, *sizes)),
                node("v", "aten.slice.Tensor", X, axis, start, draw(st.integers(start + 1, size + 3))),
                node("v", "aten.select.int", X, axis, start - draw(st.sampled_from([0, size]))),
            ]
        )
    )


def _shape_of(tensor: torch.Tensor) -> tuple[int, ...]:
    return tuple(tensor.shape)


@given(st.data(), st.lists(st.integers(1, 6), min_size=1, max_size=4).map(tuple))
def test_a_layout_says_where_torch_finds_the_elements(data: st.DataObject, shape: tuple[int, ...]) -> None:
    tensor, layout = torch.arange(math.prod(shape)).reshape(shape), contiguous(shape)
    for _ in range(data.draw(st.integers(1, 5))):
        if tensor.ndim == 0 or tensor.numel() > 5000:
            break
        step = data.draw(view_nodes(_shape_of(tensor)))
        tensor = resolve(step.op, "")(tensor, *step.args[1:])
        made = view(step, layout)
        if made is None:  # a reshape or slice across runs has no even strides
            assert step.op in {"aten.reshape.default", "aten.slice.Tensor", "aten.select.int"}
            return
        assert isinstance(made, Layout)
        layout = made
        assert tuple(math.prod(size for size, _ in axis) for axis in layout.axes) == _shape_of(tensor)
        assert elements(layout) == tensor.flatten().tolist()


def test_parts_of_a_split_follow_each_other() -> None:
    tensor = torch.arange(24).reshape(6, 4)
    for step in (
        node("v", "aten.split_with_sizes.default", X, (1, 3, 2)),
        node("v", "aten.split.Tensor", X, 4),
        node("v", "aten.unbind.int", X, 1),
    ):
        parts = view(step, contiguous((6, 4)))
        assert isinstance(parts, tuple)
        seen = [elements(part) for part in parts]
        assert seen == [part.flatten().tolist() for part in resolve(step.op, "")(tensor, *step.args[1:])]
        assert view(node("g", "getitem", ValueRef("v"), 1), parts) == parts[1]


def test_a_repetition_of_unknown_length_is_a_view_until_it_is_reshaped() -> None:
    step = node("v", "aten.expand.default", X, (ValueRef("batch"), -1, 5))
    made = view(step, contiguous((4, 5)))
    assert isinstance(made, Layout)
    assert made.axes[0] == ((-1, 0),)
    assert view(node("r", "aten.reshape.default", X, (-1, 5)), made) is None
    assert view(node("s", "aten.slice.Tensor", X, 0, 0, 1), made) is None


def test_only_casts_among_floats_are_views() -> None:
    whole = contiguous((2, 3))
    assert view(node("v", "aten._to_copy.default", X, dtype=Dtype("bfloat16")), whole) == whole
    assert view(node("v", "aten._to_copy.default", X, dtype=Dtype("int64")), whole) is None
    assert view(node("v", "aten._to_copy.default", X), whole) is None


def _hostile() -> Iterator[Node]:
    for arguments in (
        (),
        (None,),
        ("a",),
        (2**62,),
        (0, 0),
        ((0, 0),),
        ((9, 1),),
        ((-1, -1),),
        (0, 0, 0, 0, 0),
    ):
        for op in (
            "permute.default",
            "transpose.int",
            "reshape.default",
            "unsqueeze.default",
            "squeeze.dims",
        ):
            yield node("v", f"aten.{op}", X, *arguments)
        for op in (
            "expand.default",
            "slice.Tensor",
            "select.int",
            "split.Tensor",
            "split_with_sizes.default",
        ):
            yield node("v", f"aten.{op}", X, *arguments)
        yield node("v", "aten.unbind.int", X, *arguments)
        yield node("v", "getitem", X, *arguments)


def test_arguments_that_make_no_sense_make_no_error() -> None:
    several: tuple[View, ...] = (contiguous((2, 3)), contiguous(()), contiguous((0, 3)), ())
    for step, of in itertools.product(_hostile(), several):
        made = view(step, of)
        assert made is None or is_view(step)


def test_a_split_into_very_many_parts_is_not_followed() -> None:
    assert view(node("v", "aten.unbind.int", X), contiguous((10**9, 2))) is None
    assert view(node("v", "aten.split.Tensor", X, 1), contiguous((10**9, 2))) is None


def test_functions_refuse_what_they_cannot_tell() -> None:
    whole = contiguous((4, 6))
    assert permuted(whole, (0, 0)) is None
    assert reshaped(whole, (5, 5)) is None
    assert reshaped(contiguous((0, 3)), (3, 0)) is None
    assert sliced(whole, 0, 3, 3) is None
    assert without(whole, 0) is None
    turned = permuted(whole, (1, 0))
    assert turned is not None
    joined = reshaped(turned, (24,))
    assert joined is not None
    assert sliced(joined, 0, 1, 5) is None
    assert merged([(2, 12), (3, 4), (4, 1)]) == ((24, 1),)
