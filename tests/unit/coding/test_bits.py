"""Bits given their contexts: they come back, and cost what their odds say."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from common.coding.bits import decode_bits, encode_bits
from common.errors import IntegrityError


@given(data=st.data(), count=st.integers(0, 400), contexts=st.integers(1, 256))
def test_bits_come_back(data: st.DataObject, count: int, contexts: int) -> None:
    bits = data.draw(hnp.arrays(np.uint8, count, elements=st.integers(0, 1)))
    context = data.draw(hnp.arrays(np.uint8, count, elements=st.integers(0, contexts - 1)))
    coded = encode_bits(bits, context, contexts)
    back, used = decode_bits(coded + b"behind", context, contexts)
    np.testing.assert_array_equal(back, bits)
    assert used == len(coded)


@pytest.mark.parametrize("odds", [0.0005, 0.005, 0.02, 0.1, 0.3, 0.5])
def test_bits_cost_little_more_than_their_entropy(odds: float) -> None:
    rng = np.random.default_rng(0)
    count = 1 << 20
    bits = (rng.random(count) < odds).astype(np.uint8)
    context = rng.integers(0, 4, count).astype(np.uint8)
    bits ^= context & np.uint8(1)  # odd contexts are as sure of the other value
    entropy = -(odds * np.log2(odds) + (1 - odds) * np.log2(1 - odds))
    assert 8 * len(encode_bits(bits, context, 4)) / count < 1.04 * entropy + 0.002


def test_a_certain_context_costs_four_bits() -> None:
    context = np.arange(100_000, dtype=np.uint32).astype(np.uint8)
    assert len(encode_bits(context >> np.uint8(7), context, 256)) == 128


@given(position=st.integers(0, 10**6), value=st.integers(0, 255), cut=st.integers(0, 300))
def test_damage_gives_bits_or_an_error_and_nothing_else(position: int, value: int, cut: int) -> None:
    rng = np.random.default_rng(1)
    bits = (rng.random(3000) < 0.02).astype(np.uint8)
    context = rng.integers(0, 7, 3000).astype(np.uint8)
    damaged = bytearray(encode_bits(bits, context, 7))
    damaged[position % len(damaged)] = value
    try:
        back, _ = decode_bits(bytes(damaged[: len(damaged) - cut % len(damaged)]), context, 7)
    except IntegrityError:
        return
    assert back.shape == bits.shape
    assert set(np.unique(back)) <= {0, 1}
