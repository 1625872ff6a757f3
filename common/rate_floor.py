"""How long a peer may keep the other waiting: a rate that it must keep up, and some patience. Pure."""

from __future__ import annotations


class RateFloor:
    """Patience that waiting uses up and bytes earn back.

    A peer that drips is given up: over any time, waiting takes no longer than the allowance plus what the
    bytes of that time may take at the least rate. So a transfer of known size has a last moment as well.

    Args:
        least_bytes_per_second: What a peer must keep up on average while it is waited for.
        allowance_seconds: How long it may send nothing at all.
    """

    def __init__(self, least_bytes_per_second: float, allowance_seconds: float) -> None:
        if least_bytes_per_second <= 0 or allowance_seconds <= 0:
            raise ValueError("a floor needs a rate and an allowance")
        self._least = least_bytes_per_second
        self._allowance_seconds = allowance_seconds
        self._left_seconds = allowance_seconds

    @property
    def left_seconds(self) -> float:
        """How much longer the peer may be waited for; 0 when it is to be given up."""
        return self._left_seconds

    def waited(self, seconds: float) -> None:
        """The peer has been waited for so long."""
        self._left_seconds = max(0.0, self._left_seconds - seconds)

    def received(self, count_bytes: int) -> None:
        """The peer has moved so many bytes."""
        earned_seconds = count_bytes / self._least
        self._left_seconds = min(self._allowance_seconds, self._left_seconds + earned_seconds)
