"""Blocking calls in a thread, safe to cancel: the caller goes on only after the call has ended."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TypeVar

_Result = TypeVar("_Result")


async def run_blocking(call: Callable[[], _Result]) -> _Result:
    """What the call returns.

    A thread cannot be cancelled. When the caller is, the cancellation waits for the thread, so that nobody
    touches the same files or the same model beside a call that was thought dead.
    """
    return await to_the_end(asyncio.ensure_future(asyncio.to_thread(call)))


async def to_the_end(task: asyncio.Task[_Result]) -> _Result:
    """What the task returns; a caller that is cancelled goes on only once the task has ended."""
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        while not task.done():
            try:
                await asyncio.wait([task])
            except asyncio.CancelledError:
                continue
        if not task.cancelled():
            task.exception()
        raise
