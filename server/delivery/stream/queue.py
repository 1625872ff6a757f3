"""What one device wants on one stream, in its order. Pure."""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Final

from common.errors import InvalidInputError

MAX_IN_MESSAGE: Final = 1024
MAX_WAITING: Final = 65_536


@dataclass(frozen=True, slots=True)
class Want:
    """A blob that is wanted.

    Attributes:
        index: Which one of the stream, counted from 0.
        digest: Its name.
        offset_bytes: First byte wanted.
        offered: Whether it may be handed out.
    """

    index: int
    digest: str
    offset_bytes: int
    offered: bool


class WantQueue:
    """First come, first served; bounded, and cancellable by digest."""

    def __init__(self) -> None:
        self._waiting: deque[Want] = deque()
        self._under_way: dict[int, str] = {}
        self._dropped: set[int] = set()
        self._named = 0

    def __len__(self) -> int:
        return len(self._waiting)

    @property
    def idle(self) -> bool:
        """Whether nothing waits and nothing is under way."""
        return not self._waiting and not self._under_way

    def check(self, count: int) -> None:
        """Refuse more than what a device may want.

        Raises:
            InvalidInputError: One message names too many, or too many would wait.
        """
        if count > MAX_IN_MESSAGE or len(self._waiting) + count > MAX_WAITING:
            raise InvalidInputError(
                f"A message names at most {MAX_IN_MESSAGE} blobs, and at most {MAX_WAITING} may wait.",
                advice="Name more once some have come.",
            )

    def add(self, wanted: Sequence[tuple[str, int]], offered: Collection[str]) -> None:
        """These blobs come after all others.

        Args:
            wanted: Digest and first byte of each.
            offered: The digests among them that may be handed out.
        """
        self.check(len(wanted))
        for digest, offset_bytes in wanted:
            self._waiting.append(Want(self._named, digest, offset_bytes, digest in offered))
            self._named += 1

    def cancel(self, digests: Collection[str]) -> None:
        """These are not wanted any more, as often as they were named; the device hears no end of them."""
        if not digests:
            return
        self._waiting = deque(want for want in self._waiting if want.digest not in digests)
        self._dropped |= {index for index, digest in self._under_way.items() if digest in digests}

    def take(self) -> Want | None:
        """The next blob, which is under way from now on; None when nothing waits."""
        if not self._waiting:
            return None
        want = self._waiting.popleft()
        self._under_way[want.index] = want.digest
        return want

    def dropped(self, want: Want) -> bool:
        """Whether a blob that is under way was cancelled."""
        return want.index in self._dropped

    def ended(self, want: Want) -> None:
        """Nothing more of this blob will be sent."""
        self._under_way.pop(want.index, None)
        self._dropped.discard(want.index)
