from typing import Any

import pytest

from common.errors import InvalidInputError
from server.quantize.order import MAX_PINS, Order, Pin


def test_an_order_asks_for_floor_at_the_lowest_level_everywhere() -> None:
    order = Order((4, 6, 8))

    assert (order.rounding, order.pins, order.first_last, order.budget_bytes) == ("floor", (), 0, 0)


def test_pins_name_levels_of_the_version() -> None:
    order = Order((4, 6, 8), pins=(Pin("head.*", 8), Pin("*.0.*", 6)), first_last=8)

    assert [pin.level for pin in order.pins] == [8, 6]


@pytest.mark.parametrize(
    "wrong",
    [
        {"levels": (6, 4)},
        {"levels": (1, 8)},
        {"levels": ()},
        {"pins": (Pin("head.*", 5),)},
        {"pins": (Pin("a" * 513, 8),)},
        {"pins": (Pin("*", 8),) * (MAX_PINS + 1)},
        {"first_last": 7},
        {"budget_bytes": -1},
        {"min_fidelity": 1.5},
        {"min_fidelity": float("nan")},
    ],
)
def test_what_cannot_be_ordered_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(InvalidInputError):
        Order(**({"levels": (4, 6, 8)} | wrong))
