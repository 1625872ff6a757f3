"""Steps between levels in memory: exact both ways, and nothing beyond the range gets in."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from common.errors import IntegrityError
from common.nesting import Step, lift
from device_agent.residency.code_steps import lift_codes, lower_codes
from device_agent.residency.codes import ByteCodes, held_codes, is_unpacked


@st.composite
def steps(draw: st.DrawFn) -> Step:
    low = draw(st.integers(2, 7))
    high = draw(st.integers(low + 1, 8))
    return Step(low, high, draw(st.integers(high - low, 8)))


class Given:
    """Values that are at hand."""

    def __init__(self, values: NDArray[np.uint8]) -> None:
        self._values = values

    def read(self, start: int, size: int) -> NDArray[np.uint8]:
        return self._values[start : start + size]


@given(steps(), st.integers(0, 99), st.booleans())
def test_the_way_up_is_that_of_the_wire_and_the_way_down_undoes_it(
    step: Step,
    seed: int,
    unpacked: bool,  # noqa: FBT001  hypothesis gives it
) -> None:
    random = np.random.default_rng(seed)
    low = random.integers(0, 1 << step.low, 50)
    high = np.clip(
        (low << step.bits) + random.integers(0, 1 << step.shard_bits, 50) - step.shard_zero, 0, None
    )
    high = np.minimum(high, (1 << step.high) - 1)
    shard = (high - (low << step.bits) + step.shard_zero).astype(np.uint8)

    codes = held_codes(low.astype(np.uint8), step.low, unpacked=unpacked)
    lifted, (carry,) = lift_codes(codes, [(step, Given(shard))], unpacked=not unpacked)

    assert is_unpacked(lifted) is not unpacked
    np.testing.assert_array_equal(lifted.unsigned(), high)
    signed = (low - (1 << (step.low - 1))).astype(np.int8)
    on_the_wire = lift(signed, shard, step.bits, shard_zero=step.shard_zero)
    np.testing.assert_array_equal(on_the_wire.astype(int) + (1 << (step.high - 1)), high)
    lowered = lower_codes(lifted, (carry,), (step.low, step.high), step.low, unpacked=unpacked)
    np.testing.assert_array_equal(lowered.unsigned(), low)
    assert (carry is None) == (step.shard_bits == step.bits)
    assert carry is None or carry.level == step.shard_bits - step.bits


@pytest.mark.parametrize("high", [6, 8])
@pytest.mark.parametrize(("code", "low_value"), [(-1, 4), (-1, 7), (0, -1), (0, -8)])
def test_a_shard_that_leads_beyond_the_range_is_refused(high: int, code: int, low_value: int) -> None:
    step = Step(high - 2, high, 4)
    low = np.array([code % (1 << step.low)], np.uint8)
    shard = np.array([low_value + step.shard_zero], np.uint8)
    with pytest.raises(IntegrityError, match=f"beyond {high} bits"):
        lift_codes(ByteCodes(step.low, low), [(step, Given(shard))], unpacked=False)
