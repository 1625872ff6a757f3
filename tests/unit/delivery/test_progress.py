from __future__ import annotations

import asyncio
import threading

import pytest

from common.errors import LinkError
from server.delivery.progress import Progress, ProgressFeed


async def test_the_last_progress_of_each_step_arrives() -> None:
    feed = ProgressFeed()

    def work() -> None:
        for step in ("quantize", "store"):
            for done in range(1001):
                feed.report(step, done, 1000)

    future = asyncio.ensure_future(asyncio.to_thread(work))
    seen = [progress async for progress in feed.until_done(future)]
    assert {item.step: item for item in seen} == {
        "quantize": Progress("quantize", 1000, 1000),
        "store": Progress("store", 1000, 1000),
    }
    done = [item.done for item in seen if item.step == "quantize"]
    assert done == sorted(done)
    assert len(seen) <= 2002


async def test_stopping_ends_the_work_at_its_next_report() -> None:
    feed = ProgressFeed()
    stopped = threading.Event()

    def work() -> None:
        feed.report("quantize", 0, 2)
        assert stopped.wait(60)
        feed.report("quantize", 1, 2)

    future = asyncio.ensure_future(asyncio.to_thread(work))
    async for _ in feed.until_done(future):
        feed.stop()
        stopped.set()
    with pytest.raises(LinkError):
        await future


async def test_work_that_reports_nothing_ends_the_feed() -> None:
    feed = ProgressFeed()
    future = asyncio.ensure_future(asyncio.to_thread(int))
    assert [item async for item in feed.until_done(future)] == []
