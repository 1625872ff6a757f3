"""Values are written where oneDNN itself would put them, and only where that is proven.

Which order oneDNN takes depends on the processor; so all of it runs for each that this one can stand for.
"""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch

from device_agent.inference.integer.engines.onednn import OneDnn
from device_agent.inference.integer.engines.onednn_order import Orders, described, laid_in
from device_agent.inference.integer.lanes import Lanes
from device_agent.inference.integer.layers import Geometry

pytestmark = pytest.mark.skipif(not OneDnn.is_here(), reason="needs oneDNN's 8-bit kernels")

# Instruction sets that oneDNN can be held to, if the processor has them, and what it then does.
PROCESSORS = ("AVX2_VNNI", "AVX512_CORE_VNNI", "AVX512_CORE_AMX")
KNOWN = [  # rows, columns, window: in an order that is known, whatever the processor
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
UNKNOWN = [  # rows, columns, window, groups: groups, one column each
    (32, 8, 3, 4),
    (96, 1, 3, 96),
]
MAYBE = [(64, 3, 7, 1), (30, 30, 1, 1), (40, 70, 3, 1)]  # columns that are no fours


def values_of(rows: int, columns: int, window: int, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(-128, 128, (rows, columns, window, window), dtype=torch.int8, generator=generator)


def packed_by_onednn(values: torch.Tensor, groups: int = 1) -> torch.Tensor:
    geometry = Geometry(padding=(values.shape[2] // 2,) * 2, groups=groups)
    return OneDnn().pack(values, geometry, (1, values.shape[1] * groups, 14, 14))


def descriptor(packed: torch.Tensor) -> bytes:
    found: bytes = torch.ops.mkldnn._get_mkldnn_serialized_md(packed).numpy().tobytes()
    return found


def lanes_of(packed: torch.Tensor) -> Lanes:
    lanes = Orders().of(packed)
    assert lanes is not None
    return lanes


def assert_written_as_packed(rows: int, columns: int, window: int) -> None:
    """Byte for byte, and the weight before stays as it is."""
    engine = OneDnn()
    before = packed_by_onednn(values_of(rows, columns, window))
    values = values_of(rows, columns, window, seed=1)
    wanted = packed_by_onednn(values)
    lanes = lanes_of(before)
    assert lanes == lanes_of(wanted)
    another = engine.another(before)
    assert another is not None
    packed, laid = another
    assert laid.lanes == lanes
    np.testing.assert_array_equal(laid.memory, laid_in(before, lanes).memory)
    lanes.write_rows(values.flatten(1).numpy().view(np.uint8), laid.memory)
    np.testing.assert_array_equal(laid.memory, laid_in(wanted, lanes).memory)
    assert torch.equal(engine.unpack(packed), values)
    assert torch.equal(engine.unpack(before), values_of(rows, columns, window))


@pytest.mark.parametrize(("rows", "columns", "window"), KNOWN)
def test_what_is_written_is_what_onednn_packs_byte_for_byte(rows: int, columns: int, window: int) -> None:
    assert_written_as_packed(rows, columns, window)


@pytest.mark.parametrize(("rows", "columns", "window", "groups"), UNKNOWN)
def test_other_orders_are_left_to_onednn(rows: int, columns: int, window: int, groups: int) -> None:
    engine = OneDnn()
    values = values_of(rows, columns, window)
    packed = packed_by_onednn(values, groups)
    assert Orders().of(packed) is None
    assert engine.another(packed) is None
    laid = engine.laid(packed)
    np.testing.assert_array_equal(
        laid.memory.view(np.int8).reshape(rows, -1), values.flatten(1).numpy(), strict=True
    )


@pytest.mark.parametrize(("rows", "columns", "window", "groups"), MAYBE)
def test_an_order_that_some_processors_have_is_right_where_it_is_known(
    rows: int, columns: int, window: int, groups: int
) -> None:
    if Orders().of(packed_by_onednn(values_of(rows, columns, window), groups)) is not None:
        assert_written_as_packed(rows, columns, window)


@pytest.mark.parametrize("processor", PROCESSORS)
def test_it_is_so_on_other_processors(processor: str) -> None:
    """oneDNN is held to less than this one has; a processor that has less still does what it has."""
    program = f"from {__name__} import *; [assert_written_as_packed(*shape) for shape in KNOWN]"
    environment = {**os.environ, "ONEDNN_MAX_CPU_ISA": processor}
    subprocess.run([sys.executable, "-c", program], env=environment, check=True, timeout=300)


def test_a_descriptor_that_says_anything_else_is_none_that_is_known() -> None:
    packed = packed_by_onednn(values_of(128, 64, 3))
    known = descriptor(packed)
    lanes = described(known)
    assert lanes is not None
    assert replace(lanes, block=64) == Lanes(128, 64, 9, 64, 4)
    assert described(known[:100]) is None
    for at in (4, 104, 112, 208, 304, 312, 320, 328, 336, 344, 416, 424, 432, 520, 528, 616):
        changed = bytearray(known)
        changed[at] += 1
        assert described(bytes(changed)) != lanes, at
    assert described(bytes(len(known))) is None
    assert described(b"\xff" * len(known)) is None


def test_an_order_that_onednn_does_not_share_is_not_believed() -> None:
    packed = packed_by_onednn(values_of(128, 64, 1))
    right = lanes_of(packed)
    wrong = (
        Lanes(128, 64, 1, 8, 4),
        Lanes(64, 128, 1, 64, 4),
        Lanes(128, 128, 1, 64, 4),
        Lanes(64, 64, 2, 64, 4),
        Lanes(128, 64, 1, right.block, 1),
    )
    for lanes in wrong:
        assert lanes != right
        assert Orders(lambda _, lanes=lanes: lanes).of(packed) is None  # type: ignore[misc]


def test_what_has_no_descriptor_has_no_order() -> None:
    assert Orders().of(torch.zeros((4, 4, 1, 1), dtype=torch.int8)) is None
