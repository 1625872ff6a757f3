"""What quantizing relies on, of every kind of workers."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from common.errors import CapacityError, InvalidInputError, LinkError
from server.quantize.workers import Workers
from tests.support import worker_tasks
from tests.support.quantizing import some_model

UNDER_WAY = 4  # two for each of the two workers


class Counting:
    """Whole numbers from 0, and how many were taken."""

    def __init__(self) -> None:
        self.taken = 0

    def __iter__(self) -> Iterator[int]:
        for number in itertools.count():
            self.taken += 1
            yield number


def test_results_come_in_the_order_of_their_items(workers: Workers) -> None:
    assert list(workers.map(worker_tasks.double, range(100))) == list(range(0, 200, 2))
    assert list(workers.map(worker_tasks.double, [])) == []


def test_items_are_taken_as_there_is_room_and_no_more_are_under_way(workers: Workers) -> None:
    items = Counting()
    results = workers.map(worker_tasks.double, items)
    assert items.taken == 0
    for done, result in enumerate(itertools.islice(results, 20), 1):
        assert result == 2 * (done - 1)
        assert done <= items.taken < done + UNDER_WAY
    results.close()


def test_the_first_error_comes_in_its_turn_whole_and_ends_it(workers: Workers) -> None:
    items = Counting()
    results = workers.map(worker_tasks.double_but_three, items)
    assert [next(results) for _ in range(3)] == [0, 2, 4]
    with pytest.raises(InvalidInputError, match=r"3 is refused\.") as caught:
        next(results)
    assert caught.value.advice == "Take less."
    assert items.taken <= 3 + UNDER_WAY
    assert list(results) == []


def test_what_an_error_carries_comes_along(workers: Workers) -> None:
    with pytest.raises(CapacityError) as caught:
        list(workers.map(worker_tasks.no_room, [7]))
    assert (caught.value.needed_bytes, caught.value.available_bytes) == (7, 1)


def test_an_error_of_python_s_own_is_raised_as_it_is(workers: Workers) -> None:
    with pytest.raises(TimeoutError, match="of the task itself"):
        list(workers.map(worker_tasks.time_out, [7]))


def test_an_item_that_cannot_be_made_ends_it(workers: Workers) -> None:
    def items() -> Iterator[int]:
        yield 1
        raise InvalidInputError("no second item")

    with pytest.raises(InvalidInputError, match="no second item"):
        list(workers.map(worker_tasks.double, items()))
    assert list(workers.map(worker_tasks.double, [1])) == [2]


def test_closed_in_the_middle_nothing_more_is_taken_and_the_workers_go_on(workers: Workers) -> None:
    items = Counting()
    results = workers.map(worker_tasks.double, items)
    assert next(results) == 0
    results.close()
    taken = items.taken
    assert list(workers.map(worker_tasks.double, range(5))) == [0, 2, 4, 6, 8]
    assert items.taken == taken


def test_threads_share_workers(workers: Workers) -> None:
    with ThreadPoolExecutor(3) as pool:
        runs = pool.map(
            lambda start: list(workers.map(worker_tasks.double, range(start, start + 20))), range(3)
        )
    assert list(runs) == [list(range(2 * start, 2 * start + 40, 2)) for start in range(3)]


def test_arrays_of_a_large_block_go_there_and_back(workers: Workers) -> None:
    values = np.random.default_rng(0).normal(size=(4, 1 << 20)).astype(np.float32)
    (result,) = workers.map(worker_tasks.doubled, [values])
    np.testing.assert_array_equal(result, 2 * values)


def test_closed_workers_take_no_work(workers: Workers) -> None:
    workers.close()
    with pytest.raises(LinkError, match="were closed"):
        list(workers.map(worker_tasks.double, [1]))
    workers.close()


@pytest.mark.parametrize("rounding", ["floor", "adaptive"])
def test_a_model_gets_the_same_bytes_whoever_quantizes_it(
    workers: Workers, tmp_path: Path, rounding: str
) -> None:
    model = some_model(tmp_path, rounding)
    quantized, blobs = model.quantize(workers)
    assert len(quantized.blocks) > 2 * UNDER_WAY
    assert model.quantize(None) == (quantized, blobs)
