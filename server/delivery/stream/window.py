"""How far ahead of a device the server sends, and in pieces of what size. Pure.

Both follow the rate, so that a slow link holds about a second's worth of bytes that nobody can call back, and
a piece takes it no longer than a quarter. Small pieces cost both ends work, large ones are lost when the link
breaks; so a device that goes on with a blob, and thus has seen its link break, gets pieces that begin small
and grow with what has come: what the next break loses is then a small share of that.
"""

from __future__ import annotations

import math
from typing import Final

from common.channel import MAX_CHUNK_BYTES
from common.errors import InvalidInputError

_MIB: Final = 1024 * 1024
MAX_AHEAD_BYTES: Final = 8 * _MIB
LEAST_AHEAD_BYTES: Final = 64 * 1024
LEAST_CHUNK_BYTES: Final = 4 * 1024
CAREFUL_SHARE: Final = 64  # a piece is at most this part of what has come
_CAREFUL_SECONDS: Final = 0.002  # or what comes in this time: a board has to take in each piece by itself
_SHARE: Final = 4
_FIRST_CHUNK_BYTES: Final = 32 * 1024  # while nobody knows the rate
_AHEAD_SECONDS: Final = 1.0
_CHUNK_SECONDS: Final = 0.25
_MEMORY_SECONDS: Final = 2.0  # what was longer ago hardly counts for the rate


class Window:
    """Bytes sent and taken on one stream.

    Args:
        now_seconds: By a clock that never goes back, as in every method.
    """

    def __init__(self, now_seconds: float) -> None:
        self._sent_bytes = 0
        self._taken_bytes = 0
        self._since_seconds = now_seconds
        self._recent_bytes = 0.0
        self._recent_seconds = 0.0
        self._last_word = False
        self._careful = False

    @property
    def ahead_bytes(self) -> int:
        """Bytes that are sent and not taken."""
        return self._sent_bytes - self._taken_bytes

    @property
    def limit_bytes(self) -> int:
        """How far ahead the server may be now."""
        if self._last_word:
            return MAX_AHEAD_BYTES
        return min(MAX_AHEAD_BYTES, LEAST_AHEAD_BYTES + int(self._rate * _AHEAD_SECONDS))

    @property
    def chunk_bytes(self) -> int:
        """The size of the next piece, where the blob has as much."""
        if self._careful:
            share = max(self._taken_bytes / CAREFUL_SHARE, self._rate * _CAREFUL_SECONDS)
            fitting = min(share, self._rate * _CHUNK_SECONDS)
        elif self._recent_seconds:
            fitting = min(max(self._taken_bytes / _SHARE, _FIRST_CHUNK_BYTES), self._rate * _CHUNK_SECONDS)
        else:
            fitting = _FIRST_CHUNK_BYTES
        return int(min(max(fitting, LEAST_CHUNK_BYTES), MAX_CHUNK_BYTES))

    def be_careful(self) -> None:
        """The link has broken before."""
        self._careful = True

    def has_room(self, count_bytes: int) -> bool:
        """Whether so many more bytes may be sent."""
        return self.ahead_bytes + count_bytes <= self.limit_bytes

    def sent(self, count_bytes: int, now_seconds: float) -> None:
        """So many bytes more are on their way."""
        if not self.ahead_bytes:
            self._since_seconds = now_seconds  # time in which nothing was on its way says nothing of the rate
        self._sent_bytes += count_bytes

    def took(self, taken_bytes: int, now_seconds: float) -> int:
        """The device has taken so many bytes since the stream began; how many are new.

        Raises:
            InvalidInputError: It says less than before, or more than was sent.
        """
        if not self._taken_bytes <= taken_bytes <= self._sent_bytes:
            raise InvalidInputError(
                f"The device says that it took {taken_bytes} bytes; {self._sent_bytes} were sent,"
                f" and it had taken {self._taken_bytes} before."
            )
        new_bytes = taken_bytes - self._taken_bytes
        elapsed_seconds = max(0.0, now_seconds - self._since_seconds)
        kept = math.exp(-elapsed_seconds / _MEMORY_SECONDS)
        self._recent_bytes = self._recent_bytes * kept + new_bytes
        self._recent_seconds = self._recent_seconds * kept + elapsed_seconds
        self._since_seconds = now_seconds
        self._taken_bytes = taken_bytes
        return new_bytes

    def no_more_words(self) -> None:
        """The device will say nothing more, not even what it takes: it gets what one window holds."""
        self._last_word = True

    @property
    def _rate(self) -> float:
        """Bytes per second that the device takes."""
        return self._recent_bytes / self._recent_seconds if self._recent_seconds > 0 else 0.0
