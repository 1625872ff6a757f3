"""Rows are written where oneDNN itself would put them, and only where that is proven."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from device_agent.inference.integer.engines.onednn import OneDnn
from device_agent.inference.integer.engines.onednn_order import Order, OrderedRows, Orders
from device_agent.inference.integer.layers import Geometry

pytestmark = pytest.mark.skipif(not OneDnn.is_here(), reason="needs oneDNN's 8-bit kernels")

KNOWN = [  # rows, columns, window
    (512, 64, 1),
    (2048, 512, 1),
    (100, 64, 1),
    (10, 512, 1),
    (8, 64, 1),
    (48, 1024, 1),
    (64, 64, 3),
    (30, 20, 3),
    (24, 16, 5),
    (72, 128, 3),
]
UNKNOWN = [  # rows, columns, window, groups: columns that are no quads, groups, one column each
    (64, 3, 7, 1),
    (30, 30, 1, 1),
    (32, 8, 3, 4),
    (96, 1, 3, 96),
]


def values_of(rows: int, columns: int, window: int, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(-128, 128, (rows, columns, window, window), dtype=torch.int8, generator=generator)


def packed_by_onednn(values: torch.Tensor, groups: int = 1) -> torch.Tensor:
    geometry = Geometry(padding=(values.shape[2] // 2,) * 2, groups=groups)
    return OneDnn().pack(values, geometry, (1, values.shape[1] * groups, 14, 14))


def descriptor(packed: torch.Tensor) -> bytes:
    found: bytes = torch.ops.mkldnn._get_mkldnn_serialized_md(packed).numpy().tobytes()
    return found


def order_of(packed: torch.Tensor) -> Order:
    order = Orders().of(packed)
    assert order is not None
    return order


@pytest.mark.parametrize(("rows", "columns", "window"), KNOWN)
def test_what_is_written_is_what_onednn_packs_byte_for_byte(rows: int, columns: int, window: int) -> None:
    engine = OneDnn()
    before = packed_by_onednn(values_of(rows, columns, window))
    values = values_of(rows, columns, window, seed=1)
    wanted = packed_by_onednn(values)
    order = order_of(before)
    assert order == order_of(wanted)
    packed = engine.another(before)
    assert packed is not None
    engine.rows(packed).write(slice(0, rows), values.flatten(1).numpy().astype(np.int16))
    np.testing.assert_array_equal(order.places(packed), order.places(wanted))
    assert torch.equal(engine.unpack(packed), values)
    assert torch.equal(engine.unpack(before), values_of(rows, columns, window))
    np.testing.assert_array_equal(engine.rows(packed).read(slice(0, rows)), values.flatten(1).numpy())


@settings(max_examples=50, deadline=None)
@given(st.data(), st.sampled_from(KNOWN))
def test_any_rows_are_read_and_written(data: st.DataObject, shape: tuple[int, int, int]) -> None:
    """From any row on, in pieces of any size, and no other row changes."""
    first = data.draw(st.integers(0, shape[0] - 1))
    start = data.draw(st.integers(0, shape[0] - first - 1))
    stop = data.draw(st.integers(start + 1, shape[0] - first))
    values = values_of(*shape)
    packed = packed_by_onednn(values)
    rows = OrderedRows(packed, order_of(packed)).since(first)
    wanted = values.flatten(1).numpy().copy()
    own = slice(first + start, first + stop)
    np.testing.assert_array_equal(rows.read(slice(start, stop)), wanted[own])
    wanted[own] = values_of(*shape, seed=1).flatten(1).numpy()[own]
    rows.write(slice(start, stop), wanted[own])
    np.testing.assert_array_equal(OneDnn().unpack(packed).flatten(1).numpy(), wanted)


@pytest.mark.parametrize(("rows", "columns", "window", "groups"), UNKNOWN)
def test_other_orders_are_left_to_onednn(rows: int, columns: int, window: int, groups: int) -> None:
    engine = OneDnn()
    values = values_of(rows, columns, window)
    packed = packed_by_onednn(values, groups)
    assert Orders().of(packed) is None
    assert engine.another(packed) is None
    np.testing.assert_array_equal(engine.rows(packed).read(slice(1, rows)), values.flatten(1).numpy()[1:])


def test_a_descriptor_that_says_anything_else_is_none_that_is_known() -> None:
    known = descriptor(packed_by_onednn(values_of(128, 64, 3)))
    assert Order.described(known) == Order(128, 64, 9, 64)
    assert Order.described(known[:100]) is None
    for at in (4, 104, 112, 208, 304, 312, 320, 328, 336, 344, 416, 424, 432, 520, 528, 616):
        changed = bytearray(known)
        changed[at] += 1
        assert Order.described(bytes(changed)) != Order.described(known), at


def test_an_order_that_onednn_does_not_share_is_not_believed() -> None:
    packed = packed_by_onednn(values_of(128, 64, 1))
    right = order_of(packed)
    for wrong in (Order(128, 64, 1, 16), Order(64, 128, 1, 64), Order(128, 128, 1, 64), Order(64, 64, 2, 64)):
        assert wrong != right
        assert Orders(lambda _, order=wrong: order).of(packed) is None  # type: ignore[misc]


def test_what_has_no_descriptor_has_no_order() -> None:
    assert Orders().of(torch.zeros((4, 4, 1, 1), dtype=torch.int8)) is None
