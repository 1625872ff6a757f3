"""Waiting for a condition with a deadline, instead of sleeping and hoping."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable
from typing import Final

_PAUSE_SECONDS: Final = 0.02


async def until(condition: Callable[[], object | Awaitable[object]], *, seconds: float = 10) -> None:
    """The condition, a plain or an async callable, has been true; fails when it was not in time."""
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
