"""Blobs that come whole where a delta was hoped for: never unsaid, and only as far as the budget goes."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Collection, Sequence
from enum import StrEnum

from common.manifest import BlobRef
from device_agent.store.records import Release
from device_agent.update.gate import UpdateBudget

_log = logging.getLogger(__name__)


class Reason(StrEnum):
    """Why there is no delta, where one was hoped for."""

    NO_OFFERS = "the server could not offer deltas"
    NOT_FETCHED = "a delta could not be fetched"
    NOT_REBUILT = "a delta gave other bytes than the manifest names"
    DAMAGED = "what a delta needs is damaged on the disk"


class Fallback:
    """What has to come whole.

    Args:
        budget: Says how much of it may come.

    Attributes:
        counts: How many blobs since the start, by reason.
        off: Why no delta is asked for any more until the next start; None while they are.
    """

    def __init__(self, budget: UpdateBudget) -> None:
        self._budget = budget
        self._lost: dict[str, Reason] = {}
        self._told: dict[str, Reason] = {}
        self.counts: Counter[Reason] = Counter()
        self.off: Reason | None = None

    def lose(self, digests: Collection[str], reason: Reason, cause: object) -> None:
        """These blobs come whole; people learn of each once."""
        lost = dict.fromkeys(digests, reason)
        self._lost.update(lost)
        fresh = sum(self._told.get(digest) is not reason for digest in lost)
        if fresh:
            _log.warning("%d blobs have to come whole, since %s: %s", fresh, reason.value, cause)
            self.counts[reason] += fresh
            self._told.update(lost)

    def is_lost(self, digest: str) -> bool:
        """Whether the blob has to come whole."""
        return digest in self._lost

    def ask_again(self) -> None:
        """A server that could not offer deltas may do so now."""
        self._lost = {
            digest: reason for digest, reason in self._lost.items() if reason is not Reason.NO_OFFERS
        }

    def check(self, release: Release, refs: Sequence[BlobRef], here_bytes: Callable[[str], int]) -> None:
        """Nothing, when the budget leaves what is missing of some blobs.

        Args:
            release: The version.
            refs: Blobs that have to come whole, or will have to if it comes to the worst.
            here_bytes: How many bytes of a blob are here already.

        Raises:
            HeldError: It does not, and says what there must be.
        """
        needed_bytes = sum(max(0, ref.size_bytes - here_bytes(ref.digest)) for ref in refs)
        if needed_bytes and not self._budget.affords(needed_bytes):
            _log.warning(
                "%s waits: %d blobs have to come whole, and their %d bytes are not afforded",
                release,
                len(refs),
                needed_bytes,
            )
            raise self._budget.refuse(needed_bytes)

    def settle(self, digests: Collection[str]) -> None:
        """These blobs are here."""
        for digest in digests:
            self._lost.pop(digest, None)
            self._told.pop(digest, None)
