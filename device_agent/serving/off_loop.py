"""Reading and writing of large tensors, beside the event loop."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Final, TypeVar

from device_agent.serving.refusals import ClosingError

_Result = TypeVar("_Result")
# Below that the way to a thread and back takes longer than the work.
_LARGE_BYTES: Final = 64 * 1024


class OffLoop:
    """Runs what is large in a thread of its own, so that nothing else of the agent waits for it."""

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="tensors")

    async def run(self, call: Callable[[], _Result], size_bytes: int) -> _Result:
        """What the call returns.

        Args:
            call: Touches nothing that others do.
            size_bytes: How much it works on.

        Raises:
            ClosingError: The agent is shutting down.
        """
        if size_bytes < _LARGE_BYTES:
            return call()
        try:
            future = asyncio.get_running_loop().run_in_executor(self._pool, call)
        except RuntimeError as error:
            raise ClosingError from error
        return await future

    def close(self) -> None:
        """Nothing more is taken; what was taken comes to its end."""
        self._pool.shutdown(wait=False)
