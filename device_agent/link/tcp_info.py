"""What Linux says of a TCP connection: ``struct tcp_info`` of include/uapi/linux/tcp.h. Pure.

The struct only ever grew at its end, so that an older kernel answers with fewer bytes.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Final

# More than any kernel has so far; the answer says how much of it is filled.
MAX_INFO_BYTES: Final = 512
_CLOSED: Final = 7
_LISTENING: Final = 10
_STATE_AT: Final = 0
_ACKED_AT: Final = 120  # with bytes_received behind it: Linux 4.1
_SENT_AT: Final = 200  # Linux 4.19; retransmissions are in it
_PAIR: Final = struct.Struct("=QQ")
_COUNT: Final = struct.Struct("=Q")


@dataclass(frozen=True, slots=True)
class TcpInfo:
    """Bytes above TCP that crossed one connection so far.

    Attributes:
        listening: It is no connection, but waits for some.
        unused: It is no connection yet, nor was one.
        received_bytes: Each once: what the peer had to send again is not seen here.
        sent_bytes: With what this side sent again; before Linux 4.19 only what the peer acknowledged.
    """

    listening: bool
    unused: bool
    received_bytes: int
    sent_bytes: int

    @property
    def crossed_bytes(self) -> int:
        """Both ways."""
        return self.received_bytes + self.sent_bytes


def parse(data: bytes) -> TcpInfo | None:
    """What ``getsockopt(TCP_INFO)`` answered; None where the kernel does not count bytes."""
    if len(data) < _ACKED_AT + _PAIR.size:
        return None
    acked_bytes, received_bytes = _PAIR.unpack_from(data, _ACKED_AT)
    sent_bytes = acked_bytes
    if len(data) >= _SENT_AT + _COUNT.size:
        (sent_bytes,) = _COUNT.unpack_from(data, _SENT_AT)
    state = data[_STATE_AT]
    unused = state == _CLOSED and not received_bytes + sent_bytes
    return TcpInfo(state == _LISTENING, unused, received_bytes, sent_bytes)
