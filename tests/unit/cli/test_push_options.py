from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.errors import InvalidInputError
from server.cli.push_options import parse_levels, parse_pins
from server.quantize.order import Pin


def test_the_last_equals_sign_parts_pattern_and_level() -> None:
    assert parse_pins(["encoder.*=8", "a=b=6"]) == (Pin("encoder.*", 8), Pin("a=b", 6))
    assert parse_pins([]) == ()


@given(st.text(st.characters(codec="utf-8"), min_size=1), st.integers(0, 9))
def test_any_pattern_can_be_pinned(pattern: str, level: int) -> None:
    assert parse_pins([f"{pattern}={level}"]) == (Pin(pattern, level),)


@pytest.mark.parametrize(
    "text", ["", "=", "*", "*=", "=8", "*=10", "*=-8", "*= 8", "*=8 ", "*=²", "*=٨", "\udcff=8"]
)
def test_what_is_no_pin_is_refused(text: str) -> None:
    with pytest.raises(InvalidInputError, match=r"is no (pin|pattern)"):
        parse_pins([text])


def test_levels_are_digits_between_commas() -> None:
    assert parse_levels("4, 6,8") == (4, 6, 8)
    for text in ("", "4,", "4;6", "10", "²"):
        with pytest.raises(InvalidInputError, match="no levels"):
            parse_levels(text)
