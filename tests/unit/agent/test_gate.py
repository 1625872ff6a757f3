from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from common.digest import sha256_hex
from common.transfer_limits import MeteredRule, TransferLimits
from device_agent.store.ledger import Item, Kind
from device_agent.store.records import Release
from device_agent.store.store import Store
from device_agent.update.allowance import HeldError, Limit
from device_agent.update.gate import TransferGate, UpdateBudget
from device_agent.update.metered import Metered, MeteredLink
from tests.support.faults.wrong_clock import WrongClock
from tests.support.waiting import until


class Fixture:
    def __init__(self, store: Store, own: TransferLimits, metered: MeteredLink | None = None) -> None:
        self.changes = 0
        self.clock = WrongClock("2026-11-25 12:00")
        link = metered or MeteredLink(Metered.NO, None)
        self.gate = TransferGate(store, self.clock, own=own, metered=link, on_change=self.changed)

    def changed(self) -> None:
        self.changes += 1


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    store = Store.open(tmp_path, "board")
    yield store
    store.close()


def test_a_fallback_is_asked_for_refused_and_held_back_until_the_budget_leaves_it(store: Store) -> None:
    fixture = Fixture(store, TransferLimits(monthly_bytes=1000))
    budget: UpdateBudget = fixture.gate
    with fixture.gate.transfer(5000, with_shards=True):
        fixture.gate.received(400)
        assert budget.affords(600)
        assert not budget.affords(601)
    with pytest.raises(HeldError, match="700 bytes") as caught, fixture.gate.transfer(900, with_shards=True):
        raise budget.refuse(700)
    assert caught.value.hold.limit is Limit.UPDATE_BUDGET
    held = fixture.gate.allowance().hold
    assert held is not None
    assert held.limit is Limit.UPDATE_BUDGET
    fixture.gate.limit(TransferLimits(monthly_bytes=1100))
    assert fixture.changes == 1
    assert fixture.gate.allowance().hold is None
    assert budget.affords(700)


def test_without_a_budget_everything_is_afforded(store: Store) -> None:
    fixture = Fixture(store, TransferLimits())
    assert fixture.gate.affords(1 << 60)
    with pytest.raises(ValueError, match="leaves it"):
        fixture.gate.refuse(1)


def test_another_goal_is_not_held_back_by_what_the_last_one_needed(store: Store) -> None:
    fixture = Fixture(store, TransferLimits(monthly_bytes=1000))
    fixture.gate.refuse(2000)
    assert fixture.gate.allowance().hold is not None
    fixture.gate.look_anew()
    assert fixture.gate.allowance().hold is None


def chunks_of(chunk_bytes: int, gate: TransferGate) -> None:
    with gate.transfer(10 * chunk_bytes, with_shards=True):
        for _ in range(10):
            gate.received(chunk_bytes)


def test_a_transfer_ends_before_the_chunk_that_would_go_over_but_a_small_rest_fits(store: Store) -> None:
    fixture = Fixture(store, TransferLimits(monthly_bytes=1000))
    with pytest.raises(HeldError):
        chunks_of(300, fixture.gate)
    assert fixture.gate.month_bytes == 900
    assert fixture.gate.allowance().hold is not None
    fixture.gate.look_anew()
    with fixture.gate.transfer(90, with_shards=True):
        fixture.gate.received(90)
    assert fixture.gate.month_bytes == 990
    with pytest.raises(HeldError), fixture.gate.transfer(11, with_shards=True):
        raise AssertionError("nothing may begin")


def test_shards_do_not_begin_over_a_link_for_bases(store: Store) -> None:
    link = MeteredLink(Metered.YES, None)
    fixture = Fixture(store, TransferLimits(metered=MeteredRule.BASE_ONLY), link)
    with fixture.gate.transfer(10, with_shards=False):
        fixture.gate.received(5)
    with pytest.raises(HeldError, match="only bases"), fixture.gate.transfer(10, with_shards=True):
        raise AssertionError("nothing may begin")


async def test_a_count_survives_a_process_that_is_killed_in_mid_transfer(tmp_path: Path) -> None:
    digest, release = sha256_hex(b"x"), Release("net", 1, "ab" * 32, 9)
    store = Store.open(tmp_path, "board")
    gate = Fixture(store, TransferLimits()).gate
    await gate.settle()  # as an agent does before it fetches anything
    store.expect(release, [Item(digest, Kind.BASE, 4, 500)])
    store.append(digest, b"y" * 70)
    gate.received(70)
    await gate.settle()
    store.append(digest, b"y" * 30)
    gate.received(30)
    assert gate.month_bytes == 100
    store.close()  # of the last bytes the record knows nothing, as after a kill
    again = Store.open(tmp_path, "board")
    assert Fixture(again, TransferLimits()).gate.month_bytes == 100
    traffic = again.state.record.traffic
    assert traffic is not None
    assert (traffic.ledger_bytes, traffic.chunk_bytes) == (70, 70)
    again.close()


async def test_a_look_writes_down_how_large_a_chunk_is(store: Store) -> None:
    gate = Fixture(store, TransferLimits()).gate
    await gate.settle()
    watching = asyncio.create_task(gate.watch())
    gate.received(70)
    await until(lambda: store.state.record.traffic and store.state.record.traffic.chunk_bytes == 70)
    watching.cancel()
