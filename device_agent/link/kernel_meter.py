"""Bytes that crossed this process' own connections, asked of the kernel.

gRPC opens its sockets in C and shows no counts, so they are found where the kernel lists them:
``/proc/self/fd``. A descriptor is only ever borrowed for the asking. A duplicate kept open would tell of the
last byte of a connection that breaks, but its owner's close would not close it then, and gRPC's epoll would
go on reporting it under a handle that may serve the next connection already (epoll(7), question 6). So what
crosses a connection between the last look and its end is missed, as is one that nobody looked at.
"""

from __future__ import annotations

import contextlib
import os
import socket
import stat
import threading
from collections.abc import Mapping
from dataclasses import dataclass
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
        self._counts: dict[int, int] = {}
        self._listening: dict[int, int] = {}
        self._others: set[int] = set()
        self._ended_bytes = 0

    def crossed_bytes(self) -> int:
        """Bytes above TCP so far, both ways."""
        with self._using:
            present = _own_sockets()
            self._forget_all_but(present)
            fresh = {inode: self._look(inode, present[inode]) for inode in present.keys() - self._others}
            for inode, seen in fresh.items():
                if seen is not None:
                    self._count(inode, seen)
            return self._ended_bytes + sum(self._counts.values())

    def published(self, size_bytes: int) -> None:
        """Nothing: the socket knows."""

    def _forget_all_but(self, present: Mapping[int, int]) -> None:
        """Sockets that their owner has closed stay with their last count."""
        for inode in self._counts.keys() - present.keys():
            self._ended_bytes += self._counts.pop(inode)
        self._others &= present.keys()
        self._listening = {inode: port for inode, port in self._listening.items() if inode in present}

    def _look(self, inode: int, descriptor: int) -> _Seen | None:
        """A TCP socket as it is now; None for any other, which is not looked at again."""
        seen = _ask(inode, descriptor)
        if seen is None:
            self._others.add(inode)
        elif seen.info.listening:
            self._others.add(inode)
            self._listening[inode] = seen.local_port
        return seen

    def _count(self, inode: int, seen: _Seen) -> None:
        """A connection that came in through a port that listens here is an application's, not a link."""
        if inode in self._counts:
            self._counts[inode] = max(self._counts[inode], seen.info.crossed_bytes)
        elif seen.local_port in self._listening.values():
            self._others.add(inode)
        elif not seen.info.unused:
            self._counts[inode] = seen.info.crossed_bytes


@dataclass(frozen=True, slots=True)
class _Seen:
    """A TCP socket at one moment."""

    info: TcpInfo
    local_port: int


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


def _own_sockets() -> dict[int, int]:
    """Inode to one descriptor of each socket of this process."""
    found = {}
    for name in os.listdir(_OWN_FILES):  # noqa: PTH208  # it is looked at often: no paths are made
        with contextlib.suppress(OSError):  # closed since it was listed
            status = os.fstat(int(name))
            if stat.S_ISSOCK(status.st_mode):
                found[status.st_ino] = int(name)
    return found


def _ask(inode: int, descriptor: int) -> _Seen | None:
    """What the kernel says of a TCP socket; None when it is none, or has gone meanwhile."""
    try:
        borrowed = socket.socket(fileno=descriptor)
    except OSError:
        return None
    try:
        info = _tcp_info(borrowed) if borrowed.family in _FAMILIES else None
        port = borrowed.getsockname()[1] if info is not None else 0
        if info is None or os.fstat(descriptor).st_ino != inode:
            return None
        return _Seen(info, port)
    except OSError:
        return None
    finally:
        borrowed.detach()


def _tcp_info(connection: socket.socket) -> TcpInfo | None:
    """What the kernel says of a socket; None where it does not say, or it is no TCP socket."""
    try:
        return parse(connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, MAX_INFO_BYTES))
    except OSError:
        return None
