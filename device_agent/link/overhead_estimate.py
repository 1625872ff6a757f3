"""What must have crossed the sockets where the kernel does not count it: payload, and a formula for the rest.

Formula, in bytes; constants as gRPC and MQTT 3.1.1 have them on the wire:

- an HTTP/2 frame of at most 16 KiB has 9 before it, a gRPC message of at most 256 KiB has 5, its protobuf
  fields some 20, and the receiver answers with window updates of 13 for about every 32 KiB;
- a connection's settings, headers and enrolment take some 1500 once, a request with its answer some 150 for
  every message of payload, which is more than enough for large blobs and fits small ones;
- a message published with QoS 1 has its topic and header of some 60 before it and is answered with 4;
- MQTT's keepalive takes 4 every 15 s, gRPC's 34 every 10 s while payload comes, which is left out.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

_FRAME_BYTES: Final = 16 * 1024
_WINDOW_BYTES: Final = 32 * 1024
_MESSAGE_BYTES: Final = 256 * 1024
_PER_FRAME: Final = 9
_PER_WINDOW: Final = 13
_PER_MESSAGE: Final = 5 + 20 + 150
_PER_START: Final = 1500
_PER_PUBLISHED: Final = 60 + 4
_PER_PING: Final = 4
_PING_SECONDS: Final = 15


def estimate_overhead(
    payload_bytes: int, *, published_messages: int, published_bytes: int, seconds: float
) -> int:
    """Bytes beside payload that a process moved, as the formula above has it."""
    return (
        _PER_START
        + _PER_FRAME * _parts(payload_bytes, _FRAME_BYTES)
        + _PER_WINDOW * _parts(payload_bytes, _WINDOW_BYTES)
        + _PER_MESSAGE * _parts(payload_bytes, _MESSAGE_BYTES)
        + published_bytes
        + _PER_PUBLISHED * published_messages
        + _PER_PING * int(max(0.0, seconds) / _PING_SECONDS)
    )


class EstimatingMeter:
    """Implements ``SocketMeter`` without a socket.

    Args:
        payload_bytes: Payload that was received ever.
        monotonic_seconds: Tells the time.
    """

    measured = False

    def __init__(self, payload_bytes: Callable[[], int], monotonic_seconds: Callable[[], float]) -> None:
        self._payload_bytes = payload_bytes
        self._monotonic_seconds = monotonic_seconds
        self._started_bytes = payload_bytes()
        self._started_seconds = monotonic_seconds()
        self._messages = 0
        self._published_bytes = 0

    def crossed_bytes(self) -> int:
        """Bytes above TCP since this meter was made, both ways."""
        payload_bytes = self._payload_bytes() - self._started_bytes
        return payload_bytes + estimate_overhead(
            payload_bytes,
            published_messages=self._messages,
            published_bytes=self._published_bytes,
            seconds=self._monotonic_seconds() - self._started_seconds,
        )

    def published(self, size_bytes: int) -> None:
        """A message of this size went to the broker."""
        self._messages += 1
        self._published_bytes += size_bytes


def _parts(size_bytes: int, part_bytes: int) -> int:
    return -(-size_bytes // part_bytes)
