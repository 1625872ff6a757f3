from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.byte_sizes import format_bytes, parse_bytes
from common.errors import ConfigError


@pytest.mark.parametrize(
    ("size_bytes", "text"),
    [
        (0, "0 B"),
        (1023, "1023 B"),
        (1024, "1.0 KiB"),
        (12_595, "12.3 KiB"),
        (1 << 20, "1.00 MiB"),
        (3 << 30, "3.00 GiB"),
    ],
)
def test_sizes_read_in_the_largest_unit_they_fill(size_bytes: int, text: str) -> None:
    assert format_bytes(size_bytes) == text


@pytest.mark.parametrize(
    ("text", "size_bytes"),
    [("0", 0), ("4096", 4096), ("12 MiB", 12 << 20), ("12mib", 12 << 20), (" 1.5GiB\n", 3 << 29), ("7 B", 7)],
)
def test_sizes_are_understood(text: str, size_bytes: int) -> None:
    assert parse_bytes(text) == size_bytes


@pytest.mark.parametrize(
    "text", ["", "MiB", "-1", "12 MB", "1e9", "1,5 MiB", "9" * 19, "12 MiB!", "1.5", "1.5 B"]
)
def test_what_is_no_size_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="no size"):
        parse_bytes(text)


@given(st.integers(0, 10**18 - 1))
def test_plain_bytes_round_trip(size_bytes: int) -> None:
    assert parse_bytes(str(size_bytes)) == size_bytes


@given(st.integers(0, 1 << 40))
def test_a_formatted_size_is_close_to_what_it_names(size_bytes: int) -> None:
    assert parse_bytes(format_bytes(size_bytes)) == pytest.approx(size_bytes, rel=0.006, abs=52)
