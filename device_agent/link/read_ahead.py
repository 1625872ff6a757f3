"""Several bodies under way at once, read one after the other."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from types import TracebackType
from typing import Final, Self

_PIECES: Final = 4  # of a body that is not read yet; then it is not taken from its connection either

_Queue = asyncio.Queue[bytes | Exception | None]


class ReadAhead:
    """Starts bodies in their order, so many at once; what waits to be read is bounded.

    Args:
        start: Begins the body with a number.
        order: The numbers, as they will be read.
        ahead: Bodies under way at once.
    """

    def __init__(
        self, start: Callable[[int], AsyncGenerator[bytes, None]], order: Sequence[int], *, ahead: int
    ) -> None:
        self._start = start
        self._waiting = iter(order)
        self._ahead = ahead
        self._under_way: dict[int, tuple[asyncio.Task[None], _Queue]] = {}

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        tasks = [task for task, _ in self._under_way.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def pieces(self, number: int) -> AsyncGenerator[bytes, None]:
        """The next body of the order; raises what it raised, after its last piece."""
        while len(self._under_way) < self._ahead and (other := next(self._waiting, None)) is not None:
            queue = _Queue(_PIECES)
            self._under_way[other] = asyncio.create_task(self._pour(other, queue)), queue
        _, queue = self._under_way[number]
        while (piece := await queue.get()) is not None:
            if isinstance(piece, Exception):
                del self._under_way[number]
                raise piece
            yield piece
        del self._under_way[number]

    async def _pour(self, number: int, queue: _Queue) -> None:
        try:
            async with aclosing(self._start(number)) as pieces:
                async for piece in pieces:
                    await queue.put(piece)
        except Exception as error:  # noqa: BLE001  raised again where the body is read
            await queue.put(error)
        else:
            await queue.put(None)
