"""Bytes that crossed this process' own connections, asked of the kernel.

gRPC opens its sockets in C and shows no counts, so they are found where the kernel lists them:
``/proc/self/fd``. Each is held open by a duplicate until its owner has closed it and its last count was read,
so that nothing is lost with a connection that breaks. What is missed is a connection that comes and goes
between two looks.
"""

from __future__ import annotations

import contextlib
import os
import socket
import stat
import threading
from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from pathlib import Path
from typing import Final

from device_agent.link.tcp_info import MAX_INFO_BYTES, TcpInfo, parse

_OWN_FILES: Final = Path("/proc/self/fd")
_FAMILIES: Final = (socket.AF_INET, socket.AF_INET6)
_PROBE: Final = b"does this kernel count?"
_PROBE_SECONDS: Final = 2.0


class KernelMeter:
    """Implements ``SocketMeter`` on Linux.

    Every TCP connection that this process has opened counts, whoever the peer is: a proxy, a name with many
    addresses and a store of blobs elsewhere are links of the device, too. Connections that it has accepted,
    which applications on the board open to ask for inference, do not.
    """

    measured = True

    def __init__(self) -> None:
        self._using = threading.Lock()
        self._held: dict[int, _Held] = {}
        self._listening: dict[int, int] = {}
        self._others: set[int] = set()
        self._ended_bytes = 0

    def crossed_bytes(self) -> int:
        """Bytes above TCP so far, both ways."""
        with self._using:
            present = _own_sockets(without={held.descriptor for held in self._held.values()})
            self._forget_all_but(present)
            self._take_in(present)
            return self._ended_bytes + sum(held.read() for held in self._held.values())

    def published(self, size_bytes: int) -> None:
        """Nothing: the socket knows."""

    def close(self) -> None:
        """No socket is held any more; what they had counted stays."""
        with self._using:
            self._forget_all_but({})

    def _forget_all_but(self, present: Mapping[int, int]) -> None:
        """Sockets that their owner has closed are counted a last time, and closed."""
        for inode in self._held.keys() - present.keys():
            self._ended_bytes += self._held.pop(inode).end()
        self._others &= present.keys()
        self._listening = {inode: port for inode, port in self._listening.items() if inode in present}

    def _take_in(self, present: Mapping[int, int]) -> None:
        known = self._held.keys() | self._others | self._listening.keys()
        fresh: dict[int, _Held] = {}
        for inode in present.keys() - known:
            held = _hold(present[inode], inode)
            if held is None:
                self._others.add(inode)
            elif held.info.listening:
                self._listening[inode] = held.local_port
                held.end()
            else:
                fresh[inode] = held
        for inode, held in fresh.items():
            self._keep_or_leave(inode, held)

    def _keep_or_leave(self, inode: int, held: _Held) -> None:
        """A connection that came in through a port that listens here is an application's, not a link."""
        if held.local_port in self._listening.values():
            self._others.add(inode)
        elif not held.info.unused:
            self._held[inode] = held
            return
        held.end()


class _Held:
    """A duplicate of a TCP socket."""

    def __init__(self, connection: socket.socket, info: TcpInfo) -> None:
        self._connection = connection
        self.info = info
        self.descriptor = connection.fileno()
        self.local_port: int = connection.getsockname()[1]

    def read(self) -> int:
        """Bytes that crossed so far."""
        info = _tcp_info(self._connection)
        if info is not None and info.crossed_bytes > self.info.crossed_bytes:
            self.info = info
        return self.info.crossed_bytes

    def end(self) -> int:
        """Bytes that crossed; the duplicate is closed."""
        count_bytes = self.read()
        self._connection.close()
        return count_bytes


def kernel_counts() -> bool:
    """Whether this kernel counts the bytes of a connection; tried out on one within this process."""
    if not hasattr(socket, "TCP_INFO") or not _OWN_FILES.is_dir():
        return False
    with contextlib.ExitStack() as stack:
        try:
            listener = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
            near = stack.enter_context(socket.create_connection(listener.getsockname(), _PROBE_SECONDS))
            far = stack.enter_context(listener.accept()[0])
            near.sendall(_PROBE)
            far.settimeout(_PROBE_SECONDS)
            far.recv(len(_PROBE), socket.MSG_WAITALL)
        except OSError:
            return False
        infos = _tcp_info(near), _tcp_info(far)
        return all(info is not None and info.crossed_bytes >= len(_PROBE) for info in infos)


def _own_sockets(without: AbstractSet[int]) -> dict[int, int]:
    """Inode to one descriptor of each socket of this process, some descriptors left out."""
    found = {}
    for name in os.listdir(_OWN_FILES):  # noqa: PTH208  # it is looked at often: no paths are made
        descriptor = int(name)
        if descriptor in without:
            continue
        with contextlib.suppress(OSError):  # closed since it was listed
            status = os.fstat(descriptor)
            if stat.S_ISSOCK(status.st_mode):
                found[status.st_ino] = descriptor
    return found


def _hold(descriptor: int, inode: int) -> _Held | None:
    """A duplicate of a TCP socket; None when it is none, or has gone, or something else took its number."""
    try:
        connection = socket.socket(fileno=os.dup(descriptor))
    except OSError:
        return None
    try:
        info = _tcp_info(connection) if connection.family in _FAMILIES else None
        if info is not None and os.fstat(connection.fileno()).st_ino == inode:
            return _Held(connection, info)
    except OSError:
        pass
    connection.close()
    return None


def _tcp_info(connection: socket.socket) -> TcpInfo | None:
    """What the kernel says of a socket; None where it does not say, or it is no TCP socket."""
    try:
        return parse(connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, MAX_INFO_BYTES))
    except OSError:
        return None
