"""SQuant's flips, all groups at once, do what a loop over groups and elements does."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray

from server.quantize.rounding.adaptive import lower_adaptively
from server.quantize.rounding.flips import flip

CODES = hnp.arrays(
    np.int8,
    st.tuples(st.integers(1, 4), st.integers(1, 5), st.integers(1, 9)),
    elements=st.integers(-128, 127),
)


class Looped:
    """The paper's algorithm for one channel, one element after the other.

    Args:
        exact: float64 [kernels, kernel_weights], in codes.
        half: Half the number of codes.
    """

    def __init__(self, exact: NDArray[np.float64], half: int) -> None:
        self.exact, self.half = exact, half
        self.codes = np.rint(exact)
        self.nearest = self.codes.copy()

    def run(self) -> NDArray[np.float64]:
        kernels, kernel_weights = self.exact.shape
        if kernel_weights == 1:
            self._flip([(kernel, 0) for kernel in range(kernels)])
        else:
            candidates = [
                self._flip([(kernel, at) for at in range(kernel_weights)]) for kernel in range(kernels)
            ]
            self._flip([candidate for candidate in candidates if candidate], all_members=True)
        return np.clip(self.codes, -self.half, self.half - 1)

    def _flip(self, members: list[tuple[int, int]], *, all_members: bool = False) -> tuple[int, int] | None:
        """Turn members round; who is next."""
        error = self.codes - self.exact
        total = error.sum() if all_members else sum(error[member] for member in members)
        if total == 0:
            return None
        sign = 1 if total > 0 else -1
        order = sorted(
            (member for member in members if self._may(member, error[member], sign)),
            key=lambda member: (-abs(error[member]), member),
        )
        wanted = int(np.rint(abs(total)))
        for member in order[:wanted]:
            self.codes[member] -= sign
        past = wanted > 0 and wanted >= abs(total)
        at = wanted - 1 if past else wanted
        return order[at] if at < len(order) else None

    def _may(self, member: tuple[int, int], error: float, sign: int) -> bool:
        turned_before = self.codes[member] != self.nearest[member]
        inside = self.codes[member] > -self.half if sign > 0 else self.codes[member] < self.half - 1
        return error * sign > 0 and (turned_before or inside)


@given(codes=CODES, low=st.integers(2, 7), high=st.integers(3, 8))
def test_a_level_down_is_what_a_loop_makes_of_it(codes: NDArray[np.int8], low: int, high: int) -> None:
    low, high = min(low, high - 1), max(low, high)
    codes = np.right_shift(codes, np.int8(8 - high))
    half = 1 << (low - 1)
    exact = np.minimum(codes / 2 ** (high - low), half - 1)

    flat = codes.reshape(len(codes), -1)
    lowered = lower_adaptively(flat, low, high, kernel_weights=codes.shape[2]).reshape(codes.shape)

    looped = np.stack([Looped(channel, half).run() for channel in exact])
    np.testing.assert_array_equal(lowered, looped)
    assert (np.abs(lowered - exact) < 1).all()


@given(
    exact=hnp.arrays(
        np.int32,
        st.tuples(st.integers(1, 3), st.integers(1, 6), st.integers(1, 9)),
        elements=st.integers(-9 << 10, 9 << 10),
    ),
    bits=st.integers(2, 4),
)
def test_floats_are_what_a_loop_makes_of_them(exact: NDArray[np.int32], bits: int) -> None:
    values = (exact / 1024).astype(np.float32)  # sums of these are exact
    nearest = np.rint(values)
    flipped = flip(nearest.astype(np.int32), nearest - values, 1, bits)
    looped = np.stack([Looped(channel, 1 << (bits - 1)).run() for channel in values.astype(np.float64)])
    np.testing.assert_array_equal(flipped, looped)


def test_whole_numbers_and_floats_flip_alike_in_wide_groups_too() -> None:
    random = np.random.default_rng(3)
    fine = random.integers(-100 << 16, 100 << 16, (2, 1 << 16, 1)).astype(np.int32)
    nearest = np.rint(fine / (1 << 16)).astype(np.int32)
    error = (nearest << 16) - fine
    narrow = flip(nearest.copy(), (error / np.float32(1 << 16)).astype(np.float32), 1, 8)
    wide = flip(nearest.copy(), error, 1 << 16, 8)
    np.testing.assert_array_equal(narrow, wide)
    left = np.abs((wide.astype(np.int64) * (1 << 16) - fine).sum(axis=(1, 2)))
    assert (left <= 1 << 15).all()


def test_errors_cancel_in_every_kernel_and_every_channel() -> None:
    random = np.random.default_rng(0)
    values = random.uniform(-100, 100, (20, 32, 9)).astype(np.float32)
    nearest = np.rint(values)
    error = flip(nearest.astype(np.int32), nearest - values, 1, 8) - values.astype(np.float64)
    assert np.abs(error).max() < 1
    assert np.abs(error.sum(axis=2)).max() < 1.001
    assert np.abs(error.sum(axis=(1, 2))).max() < 0.501
    before = (nearest - values).astype(np.float64)
    assert np.abs(before.sum(axis=(1, 2))).max() > 5
