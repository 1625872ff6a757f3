"""Values come back in every form, and each form is taken where it is the smallest."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from common.coding.frames import compress_values
from common.coding.values import Form, decode_values, encode_values
from common.errors import IntegrityError


@given(data=st.data(), bits=st.integers(1, 8), count=st.integers(0, 300))
def test_values_come_back(data: st.DataObject, bits: int, count: int) -> None:
    carry_bits = data.draw(st.integers(0, bits - 1))
    values = data.draw(hnp.arrays(np.uint8, count, elements=st.integers(0, (1 << bits) - 1)))
    form, coded = encode_values(values, bits, carry_bits)
    np.testing.assert_array_equal(decode_values(form, coded, bits, count, carry_bits), values)


def normal(bits: int, count: int = 1 << 18) -> np.ndarray[tuple[int], np.dtype[np.uint8]]:
    draw = np.random.default_rng(0).normal(1 << (bits - 1), (1 << bits) / 8, count)
    return np.clip(np.rint(draw), 0, (1 << bits) - 1).astype(np.uint8)


@pytest.mark.parametrize(
    ("bits", "form"),
    [(3, Form.WIDER_ZSTD), (4, Form.PACKED_ZSTD), (6, Form.SPLIT_ZSTD), (8, Form.SPLIT_ZSTD)],
)
def test_codes_cost_little_more_than_their_entropy(bits: int, form: Form) -> None:
    values = normal(bits)
    counts = np.bincount(values)
    counts = counts[counts > 0]
    entropy_bytes = float((counts * np.log2(values.size / counts)).sum()) / 8
    chosen, coded = encode_values(values, bits)
    assert chosen is form
    assert len(coded) < 1.02 * entropy_bytes


def test_noise_stays_packed_bits() -> None:
    noise = np.random.default_rng(0).integers(0, 4, 10_000).astype(np.uint8)
    form, coded = encode_values(noise, 2)
    assert form is Form.PACKED
    assert len(coded) == 2500


def test_a_carry_that_the_low_bits_tell_costs_almost_nothing() -> None:
    low = np.random.default_rng(0).integers(0, 16, 1 << 16).astype(np.uint8)
    form, coded = encode_values(low | ((low > 8).astype(np.uint8) << np.uint8(4)), 5, 1)
    assert form is Form.CARRIED
    assert len(coded) == low.size // 2 + 8


@pytest.mark.parametrize(
    ("form", "data"),
    [(0, bytes(3)), (1, b"no frame"), (2, b"no frame"), (3, bytes(2)), (4, bytes(2)), (255, b"")],
)
def test_what_is_no_such_value_is_refused(form: int, data: bytes) -> None:
    with pytest.raises(IntegrityError):
        decode_values(form, data, 4, 4, 1 if form == 3 else 0)


def test_a_value_beyond_its_width_is_refused() -> None:
    values = np.random.default_rng(0).normal(32, 3, 1000).astype(np.uint8)
    coded = compress_values(values.tobytes())
    with pytest.raises(IntegrityError, match="does not fit 5 bits"):
        decode_values(Form.WIDER_ZSTD, coded, 5, values.size)
