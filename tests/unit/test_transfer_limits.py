from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.errors import InvalidInputError
from common.transfer_limits import (
    MAX_BYTES,
    NO_LIMITS,
    MeteredRule,
    TransferLimits,
    check_transfer_limits,
    merged,
    parse_metered_rule,
    read_transfer_limits,
    transfer_limits_message,
)

limits = st.builds(
    TransferLimits,
    st.just(0) | st.integers(1024, MAX_BYTES),
    st.integers(0, MAX_BYTES),
    st.none() | st.sampled_from(MeteredRule),
    st.sampled_from(["", "22:00-06:00", "00:00-00:00"]),
)


@given(limits)
def test_a_message_says_what_it_was_made_from(value: TransferLimits) -> None:
    assert read_transfer_limits(transfer_limits_message(value)) == value


@given(own=limits, operator=limits)
def test_the_operators_word_holds_where_there_is_one(own: TransferLimits, operator: TransferLimits) -> None:
    held = merged(own, operator)
    assert merged(own, NO_LIMITS) == own
    assert merged(NO_LIMITS, operator) == operator
    assert merged(held, operator) == held
    assert held.monthly_bytes == (operator.monthly_bytes or own.monthly_bytes)
    assert held.metered == (operator.metered or own.metered)


@pytest.mark.parametrize(
    "wrong",
    [
        TransferLimits(bandwidth_bytes_per_second=1023),
        TransferLimits(bandwidth_bytes_per_second=-5),
        TransferLimits(monthly_bytes=-1),
        TransferLimits(monthly_bytes=MAX_BYTES + 1),
        TransferLimits(quiet_hours="always"),
    ],
)
def test_what_is_absurd_is_refused(wrong: TransferLimits) -> None:
    with pytest.raises(InvalidInputError):
        check_transfer_limits(wrong)


def test_a_rule_may_be_written_with_either_dash() -> None:
    assert parse_metered_rule("base-only") is parse_metered_rule("base_only") is MeteredRule.BASE_ONLY
    with pytest.raises(InvalidInputError, match="all, base-only or nothing"):
        parse_metered_rule("Some")
