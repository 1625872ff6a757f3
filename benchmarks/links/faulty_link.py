"""A TCP link between devices and a server that is slow, falls silent or breaks when it is told to."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from types import TracebackType
from typing import Final, Self

_READ_BYTES: Final = 16 * 1024
_STEP_SECONDS: Final = 0.02  # how finely a rate is kept
_HOME, _ELSEWHERE = "127.0.0.1", "127.0.0.2"


class FaultyLink:
    """Forwards every connection to a target; all that goes to the devices shares one rate.

    Faults are those that a device sees: a link that is cut, one that is there and carries nothing, one that
    drips, one whose address changes.

    Args:
        target: ``HOST:PORT`` of the server.
        to_device_bytes_per_second: 0 for no limit.
        notice_seconds: How long after the last byte both ends learn that the link is cut; with 0 a device may
            have no time to read what has come.

    Attributes:
        to_device_bytes: Bytes handed to devices so far.
        to_server_bytes: Bytes handed to the server so far.
        cuts: How many times the link was cut.
        rate: As ``to_device_bytes_per_second``; may be changed at any time.
    """

    def __init__(
        self, target: str, *, to_device_bytes_per_second: float = 0, notice_seconds: float = 0
    ) -> None:
        host, _, port = target.rpartition(":")
        self._target = (host, int(port))
        self._notice_seconds = notice_seconds
        self._source = _HOME
        self._connections: set[_Connection] = set()
        self._cut_left: int | None = None
        self._free_at_seconds = 0.0
        self._busy_until_seconds = 0.0
        self._server: asyncio.Server | None = None
        self.rate = to_device_bytes_per_second
        self.to_device_bytes = 0
        self.to_server_bytes = 0
        self.cuts = 0

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, _HOME, 0)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._server is not None:
            self._server.close()
        tasks = [connection.task for connection in self._connections]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    @property
    def address(self) -> str:
        """``HOST:PORT`` for devices."""
        if self._server is None:
            raise ValueError("the link is not up")
        return f"{_HOME}:{self._server.sockets[0].getsockname()[1]}"

    def cut_after(self, count_bytes: int) -> None:
        """All connections end once so many more bytes have gone to the devices; new ones are let in."""
        self._cut_left = count_bytes

    def cut(self) -> None:
        """All connections end now."""
        self._cut_left = None
        self.cuts += 1
        for connection in self._connections:
            connection.task.cancel()

    async def _cut_later(self) -> None:
        self._cut_left = None
        self.fall_silent()
        await asyncio.sleep(self._notice_seconds)
        self.cut()

    def fall_silent(self) -> None:
        """Connections stay open and carry nothing any more, as when the other side lost its power."""
        for connection in self._connections:
            connection.carries.clear()

    def change_address(self) -> None:
        """The device is elsewhere now: old connections carry nothing, new ones come from another address."""
        self.fall_silent()
        self._source = _ELSEWHERE if self._source == _HOME else _HOME

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        if task is None:
            raise AssertionError("asyncio serves a connection in a task")
        connection = _Connection(task)
        self._connections.add(connection)
        try:
            with contextlib.suppress(OSError, asyncio.CancelledError):
                await self._forward(connection, reader, writer)
        finally:
            self._connections.discard(connection)
            writer.close()

    async def _forward(
        self, connection: _Connection, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        far_reader, far_writer = await asyncio.open_connection(
            *self._target, local_addr=(self._source, 0), limit=_READ_BYTES
        )
        for end in (writer, far_writer):
            end.transport.set_write_buffer_limits(high=0)  # what is counted as handed over is
            end.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        ways = [
            asyncio.create_task(self._to_device(connection, far_reader, writer)),
            asyncio.create_task(self._to_server(connection, reader, far_writer)),
        ]
        try:
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for way in ways:
                way.cancel()
            await asyncio.gather(*ways, return_exceptions=True)
            far_writer.close()

    async def _to_device(
        self, connection: _Connection, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        while data := await reader.read(_READ_BYTES):
            while data:
                step_bytes = max(1, int(self.rate * _STEP_SECONDS)) if self.rate else len(data)
                piece, data = data[:step_bytes], data[step_bytes:]
                await self._pace(len(piece))
                await connection.carries.wait()
                if self._cut_left is not None:
                    piece = piece[: self._cut_left]
                    self._cut_left -= len(piece)
                writer.write(piece)
                self.to_device_bytes += len(piece)
                await writer.drain()
                if self._cut_left == 0:
                    await self._cut_later()

    async def _to_server(
        self, connection: _Connection, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        while data := await reader.read(_READ_BYTES):
            await connection.carries.wait()
            writer.write(data)
            self.to_server_bytes += len(data)
            await writer.drain()

    async def _pace(self, count_bytes: int) -> None:
        """Return once the bytes may go; what busy timers oversleep is made up for, idleness is not."""
        if not self.rate:
            return
        clock = asyncio.get_running_loop().time
        if clock() - self._busy_until_seconds > _STEP_SECONDS / 2:
            self._free_at_seconds = max(clock(), self._free_at_seconds)
        self._free_at_seconds += count_bytes / self.rate
        await asyncio.sleep(self._free_at_seconds - clock())
        self._busy_until_seconds = clock()


class _Connection:
    """One connection through the link.

    Attributes:
        task: Serves it, and ends it when cancelled.
        carries: Unset once it carries nothing any more.
    """

    def __init__(self, task: asyncio.Task[None]) -> None:
        self.task = task
        self.carries = asyncio.Event()
        self.carries.set()
