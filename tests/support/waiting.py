"""Waiting for a condition with a deadline, instead of sleeping and hoping."""

from __future__ import annotations

import asyncio
import inspect
import time
from collections.abc import Awaitable, Callable
from typing import Final

_PAUSE_SECONDS: Final = 0.02


async def until(condition: Callable[[], object | Awaitable[object]], *, seconds: float = 60) -> None:
    """The condition, a plain or an async callable, has been true; fails when it was not in time.

    Paging has a low priority: where other programs take the machine, it is slower by a factor of ten.
    """
    deadline = asyncio.get_running_loop().time() + seconds
    while True:
        result = condition()
        if inspect.isawaitable(result):
            result = await result
        if result:
            return
        if asyncio.get_running_loop().time() > deadline:
            raise AssertionError(f"Not true within {seconds} s: {condition}")
        await asyncio.sleep(_PAUSE_SECONDS)


def wait_until(condition: Callable[[], bool], what: str, *, seconds: float = 60) -> None:
    """Poll other processes, which cannot be awaited, until something holds of them.

    Raises:
        AssertionError: It does not within the deadline.
    """
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"not within {seconds} s: {what}"
        time.sleep(_PAUSE_SECONDS * 5)
