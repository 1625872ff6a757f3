"""A TCP proxy that counts what crosses it, and cuts connections on order."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

from common.addresses import parse_host_port

_READ_BYTES = 4096
_STALL_SECONDS = 0.5


class CountingProxy:
    """Stands before one address.

    Args:
        target: ``HOST:PORT``.
        bytes_per_second: Of each direction of a connection, as a slow link has it; 0: no limit.

    Attributes:
        address: ``HOST:PORT`` to connect to.
        crossed_bytes: What the clients sent and what reached them, over all connections.
        connections: How many there have been.
        cut_after_bytes: The connection over which this many more bytes go carries nothing more and is closed
            a moment later, as when a link is lost; None: none is.
    """

    def __init__(self, target: str, *, bytes_per_second: int = 0) -> None:
        self._target = parse_host_port(target)
        self._bytes_per_second = bytes_per_second
        self._tasks: set[asyncio.Task[None]] = set()
        self.address = ""
        self.crossed_bytes = 0
        self.connections = 0
        self.cut_after_bytes: int | None = None

    @contextlib.asynccontextmanager
    async def serving(self) -> AsyncIterator[CountingProxy]:
        """Accepts connections until the block ends."""
        server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self.address = f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
        try:
            yield self
        finally:
            server.close()
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)
            await server.wait_closed()

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(self._carry(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Until either side ends or the connection is cut; what was read is passed on before."""
        self.connections += 1
        try:
            far_reader, far_writer = await asyncio.open_connection(*self._target)
        except OSError:
            await _close(writer)
            return
        pumps = [
            asyncio.create_task(self._pump(reader, far_writer)),
            asyncio.create_task(self._pump(far_reader, writer)),
        ]
        try:
            await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for pump in pumps:
                pump.cancel()
            await asyncio.gather(*pumps, return_exceptions=True)
            for end in (writer, far_writer):
                await _close(end)

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(_READ_BYTES):
            self.crossed_bytes += len(data)
            writer.write(data)
            await writer.drain()
            if self._bytes_per_second:
                await asyncio.sleep(len(data) / self._bytes_per_second)
            if self.cut_after_bytes is not None:
                self.cut_after_bytes -= len(data)
                if self.cut_after_bytes <= 0:
                    self.cut_after_bytes = None
                    await asyncio.sleep(_STALL_SECONDS)
                    return


async def _close(writer: asyncio.StreamWriter) -> None:
    writer.close()
    with contextlib.suppress(OSError):
        await writer.wait_closed()
