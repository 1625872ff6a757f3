"""Blobs come back as they went, or not at all."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from common.blob_codec import decode_arrays, decode_bytes, decompress, encode_arrays, encode_bytes
from common.errors import IntegrityError

ARRAYS: dict[str, NDArray[Any]] = {
    "codes/w": np.arange(1000, dtype=np.uint8) % 16,
    "scale/w": np.linspace(0, 1, 4, dtype=np.float32),
    "float/b": np.zeros((2, 3), np.float32),
    "float/of_no_axis": np.array(3, np.int64),
    "float/transposed": np.arange(6, dtype=np.float32).reshape(2, 3).T,
}


@pytest.mark.parametrize("compress", [True, False])
def test_arrays_come_back_equal(compress: bool) -> None:  # noqa: FBT001
    data, ref = encode_arrays(ARRAYS, compress=compress)
    assert ref.coding == ("zstd" if compress else "raw")
    back = decode_arrays(data, ref)
    assert back.keys() == ARRAYS.keys()
    for name, array in ARRAYS.items():
        np.testing.assert_array_equal(back[name], array)
        assert back[name].dtype == array.dtype


def test_equal_arrays_give_equal_bytes_in_any_order() -> None:
    assert encode_arrays(ARRAYS, compress=True) == encode_arrays(
        dict(reversed(list(ARRAYS.items()))), compress=True
    )


def test_incompressible_bytes_stay_raw() -> None:
    noise = np.random.default_rng(0).integers(0, 256, 1000, np.uint8).tobytes()
    assert encode_bytes(noise, compress=True)[1].coding == "raw"


@given(position=st.integers(0, 10**6), bit=st.integers(0, 7))
def test_a_flipped_bit_is_noticed(position: int, bit: int) -> None:
    data, ref = encode_arrays(ARRAYS, compress=True)
    damaged = bytearray(data)
    damaged[position % len(data)] ^= 1 << bit
    with pytest.raises(IntegrityError, match="other content"):
        decode_bytes(bytes(damaged), ref)


def test_cut_and_padded_blobs_are_noticed() -> None:
    data, ref = encode_arrays(ARRAYS, compress=True)
    for damaged in (data[:-1], data + b"\0", b""):
        with pytest.raises(IntegrityError, match="bytes, not"):
            decode_bytes(damaged, ref)


def test_a_decompression_bomb_stops_at_the_stated_size() -> None:
    bomb, ref = encode_bytes(bytes(50_000_000), compress=True)
    with pytest.raises(IntegrityError, match="more than its stated 1000 bytes"):
        decode_bytes(bomb, replace(ref, raw_size_bytes=1000))


def test_a_frame_that_yields_less_or_is_damaged_is_refused() -> None:
    frame = zstandard.compress(b"x" * 100)
    with pytest.raises(IntegrityError, match="less than its stated 101 bytes"):
        decompress(frame, 101)
    with pytest.raises(IntegrityError):
        decompress(frame[:-3], 100)
    with pytest.raises(IntegrityError, match="damaged"):
        decompress(b"not zstd at all", 100)


def test_bytes_that_are_no_container_are_refused() -> None:
    data, ref = encode_bytes(b"hello", compress=False)
    with pytest.raises(IntegrityError, match="no safetensors"):
        decode_arrays(data, ref)
