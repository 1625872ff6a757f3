from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from common.errors import CapacityError, InvalidInputError
from server.delivery.order import Part, PushOrder

SIZES = dict.fromkeys(Part, 10)
LIMITS = dict.fromkeys(Part, 20)
SOUND = PushOrder("digits", (4, 6, 8), "floor", SIZES, 0.5, 1 << 20)


def test_a_sound_order() -> None:
    SOUND.check(LIMITS)
    assert SOUND.total_bytes == 30


@pytest.mark.parametrize(
    "change",
    [
        {"model": "../etc"},
        {"levels": (4, 4)},
        {"levels": (1, 8)},
        {"rounding": "a b"},
        {"min_agreement": -0.1},
        {"min_agreement": 1.1},
        {"block_size_bytes": (4 << 20) + 1},
        {"size_bytes": SIZES | {Part.SAMPLES: 0}},
    ],
)
def test_what_is_wrong_with_an_order(change: dict[str, Any]) -> None:
    with pytest.raises(InvalidInputError):
        dataclasses.replace(SOUND, **change).check(LIMITS)


@pytest.mark.parametrize("part", list(Part))
def test_a_part_over_its_limit_says_both_sizes(part: Part) -> None:
    order = dataclasses.replace(SOUND, size_bytes=SIZES | {part: 21})
    with pytest.raises(CapacityError) as caught:
        order.check(LIMITS)
    assert (caught.value.needed_bytes, caught.value.available_bytes) == (21, 20)
