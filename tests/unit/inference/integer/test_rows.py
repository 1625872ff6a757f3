"""Rows of values, some at a time."""

from __future__ import annotations

import threading
import time

import numpy as np
import pytest

from device_agent.inference.integer.rows import HeldRows, chunks
from device_agent.residency.courtesy import REQUESTS


@pytest.mark.parametrize("shape", [(0, 9), (1, 1), (70, 4608), (5000, 100), (3, 1_000_000), (4, 0)])
def test_chunks_are_all_rows_in_order(shape: tuple[int, int]) -> None:
    found = [np.arange(shape[0])[rows] for rows in chunks(shape)]
    np.testing.assert_array_equal(np.concatenate([*found, np.arange(0)]), np.arange(shape[0]))


def test_a_request_comes_before_the_next_chunk() -> None:
    """It is answered while the work waits."""
    REQUESTS.begin()
    left = chunks((2, 1_000_000))
    next(left)
    time.sleep(0.05)  # so much work that it waits for longer than the request takes
    begun, answered = threading.Event(), threading.Event()

    def answer() -> None:
        with REQUESTS.answering():
            begun.set()
            answered.wait(0.02)
            answered.set()

    request = threading.Thread(target=answer)
    request.start()
    begun.wait()
    next(left)
    assert answered.is_set()
    request.join()


def test_held_rows_are_the_array() -> None:
    array = np.arange(12, dtype=np.int8).reshape(4, 3)
    rows = HeldRows(array).since(1)
    rows.write(slice(0, 2), np.full((2, 3), -7, np.int16))
    np.testing.assert_array_equal(array[1:3], -7)
    np.testing.assert_array_equal(rows.read(slice(2, 3)), [[9, 10, 11]])
