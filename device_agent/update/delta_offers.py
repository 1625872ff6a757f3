"""Asking for deltas: once for an update, however often it is interrupted, and not for ever in vain."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from common.errors import LinkError
from device_agent.link.server import DeltaOffer, ServerLink
from device_agent.store.records import Release
from device_agent.update.delta_plan import DeltaPlan

_PATIENCE: Final = 3


@dataclass(frozen=True, slots=True)
class _Said:
    """What the server offered, and to which question."""

    versions: tuple[str, str]
    blobs_per_block: tuple[int, ...]
    present_per_block: tuple[int, ...]
    offers: tuple[DeltaOffer, ...]

    def covers(self, versions: tuple[str, str], deltas: DeltaPlan) -> bool:
        """Whether the same was asked, or more."""
        ranges = zip(
            deltas.present_per_block,
            deltas.blobs_per_block,
            self.present_per_block,
            self.blobs_per_block,
            strict=False,
        )
        return versions == self.versions and all(
            not stop or (before <= first and stop <= most) for first, stop, before, most in ranges
        )


class DeltaOffers:
    """What a server offers."""

    def __init__(self, server: ServerLink) -> None:
        self._server = server
        self._said: _Said | None = None
        self._failures = 0

    @property
    def in_vain(self) -> bool:
        """Whether the server failed to offer deltas again and again."""
        return self._failures >= _PATIENCE

    async def between(
        self, release: Release, held: Release, deltas: DeltaPlan, *, ask: bool
    ) -> Sequence[DeltaOffer]:
        """What the server said before about two versions, or says now; nothing where it is not to be asked.

        Raises:
            NotFoundError: The server has one of the versions no more.
            LinkError: The server is away, or fails at it.
        """
        versions = (release.manifest_digest, held.manifest_digest)
        if self._said is not None and self._said.covers(versions, deltas):
            return self._said.offers
        if not ask:
            return ()
        counts = deltas.blobs_per_block, deltas.present_per_block
        try:
            offers = await self._server.offer_deltas(*versions, *counts)
        except LinkError:
            self._failures += 1
            raise
        self._failures = 0
        self._said = _Said(versions, *counts, tuple(offers))
        return offers
