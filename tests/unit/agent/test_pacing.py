from __future__ import annotations

import asyncio

import pytest

from common.errors import Error
from device_agent.update.pacing import Pacer


async def took_seconds(pacer: Pacer, count_bytes: int) -> float:
    loop = asyncio.get_running_loop()
    started = loop.time()
    await pacer.received(count_bytes)
    return loop.time() - started


async def test_without_a_limit_nothing_waits() -> None:
    with pytest.raises(StopIteration):
        Pacer().received(1 << 40).send(None)


async def test_a_limit_holds_on_average_and_idle_time_earns_no_credit() -> None:
    pacer = Pacer(10_000)
    assert await took_seconds(pacer, 2_000) >= 0.19
    await asyncio.sleep(0.2)
    assert await took_seconds(pacer, 2_000) >= 0.19


async def test_streams_at_once_share_a_limit() -> None:
    pacer = Pacer(10_000)
    times = await asyncio.gather(*(took_seconds(pacer, 1_000) for _ in range(3)))
    assert max(times) >= 0.29


async def test_a_limit_that_is_raised_or_lifted_wakes_what_waits() -> None:
    for limit in (1 << 40, 0):
        pacer = Pacer(1)
        waiting = asyncio.create_task(pacer.received(1000))
        await asyncio.sleep(0)
        assert not waiting.done()
        pacer.limit(limit)
        await asyncio.wait_for(waiting, 60)
        assert pacer.limit_bytes_per_second == limit


async def test_a_limit_that_is_lowered_holds_from_then_on() -> None:
    pacer = Pacer(1 << 40)
    await pacer.received(1 << 30)
    pacer.limit(10_000)
    assert await took_seconds(pacer, 2_000) >= 0.19


async def test_a_check_is_told_of_bytes_once_and_asked_again_after_the_wait() -> None:
    told: list[int] = []
    await Pacer(check=told.append).received(7)
    assert told == [7, 0]


async def test_a_check_that_raises_keeps_the_next_bytes_away() -> None:
    def refuse(_: int) -> None:
        raise Error("no more")

    with pytest.raises(Error, match="no more"):
        await Pacer(1, check=refuse).received(1000)
