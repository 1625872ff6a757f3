"""Values of rows where they lie, in any order of memory."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from device_agent.inference.integer.lanes import UNIT, Laid, Lanes, dither
from device_agent.residency.courtesy import REQUESTS

ORDERS = [
    Lanes.plain(7, 45),
    Lanes.plain(300, 2000),
    Lanes(128, 64, 9, 64, 4),
    Lanes(100, 20, 9, 32, 4),
    Lanes(10, 256, 1, 16, 4),
    Lanes(24, 3, 25, 16, 1),
    Lanes(2048, 512, 1, 64, 4),
    Lanes(1, 4, 1, 64, 4),
]


def rows_of(lanes: Lanes, seed: int = 0) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, (lanes.rows, lanes.places), np.uint8)


def laid(lanes: Lanes, rows: NDArray[np.uint8]) -> NDArray[np.uint8]:
    memory = np.full(lanes.shape, 99, np.uint8)
    for chunk in lanes.chunks():
        lanes.write_rows(rows[chunk.rows], memory[chunk.blocks])
    return memory


@pytest.mark.parametrize("lanes", ORDERS)
def test_every_value_has_its_place_and_padding_is_zeros(lanes: Lanes) -> None:
    rows = rows_of(lanes)
    memory = laid(lanes, rows)
    by_row = memory.reshape(len(memory), lanes.shape[1], lanes.block, lanes.lane)
    for row, column, window in ((0, 0, 0), (lanes.rows - 1, lanes.columns - 1, lanes.window - 1), (0, 1, 0)):
        step, lane = divmod(window * lanes.columns + column, lanes.lane)
        value = by_row[row // lanes.block, step, row % lanes.block, lane]
        assert value == rows[row, column * lanes.window + window]
    assert not by_row.transpose(0, 2, 1, 3).reshape(-1, lanes.places)[lanes.rows :].any()
    assert memory.size == lanes.size_bytes


@pytest.mark.parametrize("lanes", ORDERS)
def test_rows_come_back_all_or_some(lanes: Lanes) -> None:
    rows = rows_of(lanes)
    memory = laid(lanes, rows)
    for chunk in lanes.chunks():
        found = lanes.read_rows(memory[chunk.blocks], chunk.rows.stop - chunk.rows.start)
        np.testing.assert_array_equal(found, rows[chunk.rows])
    some = np.unique(np.random.default_rng(1).integers(0, lanes.rows, 5))
    np.testing.assert_array_equal(lanes.pick_rows(memory, some), rows[some])
    rows[some] = rows_of(lanes, seed=2)[some]
    lanes.put_rows(memory, some, rows[some])
    np.testing.assert_array_equal(memory, laid(lanes, rows))


@pytest.mark.parametrize("lanes", ORDERS)
def test_indices_lead_there_and_back(lanes: Lanes) -> None:
    rows = rows_of(lanes)
    places = np.unique(np.random.default_rng(3).integers(0, rows.size, 50))
    at = lanes.indices_of(places)
    np.testing.assert_array_equal(laid(lanes, rows).reshape(-1)[at], rows.reshape(-1)[places])
    np.testing.assert_array_equal(lanes.places_of(at), places)


@pytest.mark.parametrize("lanes", ORDERS)
def test_what_is_told_for_each_row_reaches_all_of_its_values(lanes: Lanes) -> None:
    rows = rows_of(lanes)
    memory = laid(lanes, rows)
    numbers = np.random.default_rng(4).integers(0, UNIT, lanes.rows, np.uint8)
    wanted = laid(lanes, rows + numbers[:, None])
    rest = lanes.per_row(numbers)
    more = np.empty(memory.shape, np.bool_)
    lanes.dithered(rest, more)
    np.add(lanes.folded(memory), rest, out=lanes.folded(memory))
    np.testing.assert_array_equal(memory, wanted)
    together = numbers[:, None].astype(int) + dither(lanes.places) >= UNIT
    np.testing.assert_array_equal(more.view(np.uint8), laid(lanes, together.astype(np.uint8)))


@pytest.mark.parametrize("places", [16, 64, 100, 128, 576, 1000])
def test_dithers_are_even(places: int) -> None:
    """What is rounded down by them loses nothing on average, and hardly anything over 32 neighbours."""
    assert abs(dither(places).mean() - (UNIT - 1) / 2) < UNIT / 16
    neighbours = np.lib.stride_tricks.sliding_window_view(dither(places), min(32, places)).mean(axis=1)
    assert np.abs(neighbours - UNIT / 2).max() < UNIT / 12


def test_few_places_are_rounded_to_nearest() -> None:
    assert set(dither(9).tolist()) == {UNIT // 2 - 1}


@pytest.mark.parametrize(
    "lanes",
    [*ORDERS, Lanes.plain(0, 9), Lanes.plain(5000, 100), Lanes.plain(3, 1_000_000), Lanes.plain(4, 0)],
)
def test_chunks_are_all_rows_in_order(lanes: Lanes) -> None:
    found = [np.arange(lanes.rows)[chunk.rows] for chunk in lanes.chunks()]
    np.testing.assert_array_equal(np.concatenate([*found, np.arange(0)]), np.arange(lanes.rows))


def test_requests_come_before_each_chunk(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[None] = []
    monkeypatch.setattr(REQUESTS, "give_way", lambda: asked.append(None))
    left = Lanes.plain(2, 1_000_000).chunks()
    next(left)
    assert not asked, "whoever begins has waited"
    next(left)
    assert len(asked) == 1


def test_a_plain_array_is_laid_as_it_is() -> None:
    values = np.arange(24, dtype=np.int8).reshape(4, 3, 2, 1)
    found = Laid.plain(values)
    assert found.lanes == Lanes.plain(4, 6)
    assert np.shares_memory(found.memory, values)
    np.testing.assert_array_equal(found.lanes.read_rows(found.memory, 4), values.reshape(4, 6))
