from __future__ import annotations

import dataclasses
import math
from typing import Any

import pytest

from common.errors import CapacityError, InvalidInputError
from server.delivery.order import Part, PushOrder
from server.quantize.order import MAX_PATTERN_LENGTH, MAX_PINS, Order, Pin

SIZES = dict.fromkeys(Part, 10)
LIMITS = dict.fromkeys(Part, 20)
SOUND = PushOrder("digits", (4, 6, 8), "floor", SIZES, 0.5, 1 << 20)


def test_a_sound_order() -> None:
    SOUND.check(LIMITS)
    assert SOUND.total_bytes == 50
    assert SOUND.parts == tuple(Part)


def test_calibration_and_evaluation_may_be_absent() -> None:
    order = dataclasses.replace(SOUND, size_bytes=SIZES | {Part.CALIBRATION: 0, Part.EVALUATION: 0})
    order.check(LIMITS)
    assert order.parts == (Part.GRAPH, Part.WEIGHTS, Part.SAMPLES)
    assert order.total_bytes == 30


def test_an_order_says_how_to_quantize() -> None:
    order = dataclasses.replace(
        SOUND,
        refit=True,
        pins=(Pin("encoder.*", 8), Pin("*", 6)),
        first_last=8,
        budget_bytes=6 << 20,
        min_fidelity=0.9,
    )
    order.check(LIMITS)
    assert order.quantization() == Order(
        (4, 6, 8),
        "floor",
        1 << 20,
        0.5,
        refit=True,
        pins=(Pin("encoder.*", 8), Pin("*", 6)),
        first_last=8,
        budget_bytes=6 << 20,
        min_fidelity=0.9,
    )


def test_calibrated_rounding_needs_samples_to_calibrate_with() -> None:
    order = dataclasses.replace(SOUND, rounding="calibrated")
    order.check(LIMITS)
    without = dataclasses.replace(order, size_bytes=SIZES | {Part.CALIBRATION: 0})
    with pytest.raises(InvalidInputError, match="needs calibration samples") as caught:
        without.check(LIMITS)
    assert "--calibration" in caught.value.advice


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
        {"pins": (Pin("*", 5),)},
        {"pins": (Pin("*", 8),) * (MAX_PINS + 1)},
        {"pins": (Pin("*" * (MAX_PATTERN_LENGTH + 1), 8),)},
        {"first_last": 7},
        {"budget_bytes": -1},
        {"budget_bytes": 1 << 63},
        {"min_fidelity": 1.1},
        {"min_fidelity": math.nan},
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
