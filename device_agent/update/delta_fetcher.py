"""Fetching by deltas where that is cheaper: ask, fetch deltas, rebuild, and fetch whole what is left."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Sequence
from typing import Final

from common.errors import Error, IntegrityError, InvalidInputError, LinkError, NotFoundError
from common.manifest import Manifest
from device_agent.blocking import run_blocking
from device_agent.link.server import DeltaOffer, ServerLink
from device_agent.store.records import Release
from device_agent.store.store import Store
from device_agent.update.delta_offers import DeltaOffers
from device_agent.update.delta_plan import DeltaPlan, Rebuild, delta_items
from device_agent.update.fallback import Fallback, Reason
from device_agent.update.fetch_plan import has_base
from device_agent.update.fetcher import Fetcher, Plan
from device_agent.update.gate import UpdateBudget
from device_agent.update.rebuilder import Rebuilder

_ROUNDS: Final = 3
_NOT_TO_BE_HAD: Final = (NotFoundError, IntegrityError, InvalidInputError)
_log = logging.getLogger(__name__)


class DeltaFetcher:
    """Brings manifests and blobs into the store, as ``Fetcher`` does, with fewer bytes.

    Deltas that have come stay on disk until their blobs are rebuilt, so a kill costs none of them.

    Args:
        fetcher: Brings what it is told to bring.
        server: Offers deltas.
        store: Has the version that is held, and gets the one that is wanted.
        budget: Asked before whole blobs come in the place of deltas.
        on_progress: Called after every delta that is used up.
    """

    def __init__(
        self,
        fetcher: Fetcher,
        server: ServerLink,
        store: Store,
        *,
        on_progress: Callable[[], None],
        budget: UpdateBudget,
    ) -> None:
        self._fetcher = fetcher
        self._store = store
        self._waiting: dict[str, frozenset[str]] = {}
        self._offers = DeltaOffers(server)
        self._fallback = Fallback(budget)
        self._rebuilder = Rebuilder(store, self._fallback, on_progress)

    @property
    def fallbacks(self) -> dict[str, int]:
        """How many blobs had to come whole where deltas were hoped for, by reason, since the start."""
        return {reason.value: count for reason, count in self._fallback.counts.items()}

    async def manifest(self, release: Release) -> Manifest:
        """As ``Fetcher.manifest``."""
        return await self._fetcher.manifest(release)

    async def blobs(self, release: Release, plan: Plan) -> None:
        """All blobs of the plan, whole and verified, whether received or rebuilt.

        Raises:
            CapacityError: The disk has no room for all of it, found before the first byte; or it fails.
            NotFoundError: The server has one no more.
            IntegrityError: What came is not what the digest names, three times.
            LinkError: The server is away; what came so far stays.
            HeldError: A limit is reached, or does not leave what has to come whole; what came so far stays.
        """
        self._fallback.ask_again()
        versions = await run_blocking(lambda: self._versions(release))
        rebuilds: Sequence[Rebuild] = ()
        if versions is not None:
            rebuilds = await self._ask(release, *versions, plan)
            if rebuilds:
                await self._fetch_deltas(release, plan, rebuilds)
        while True:
            if versions is not None:
                await self._rebuilder.run(*versions[:2], rebuilds)
            pending = self._rebuilder.pending(rebuilds)
            rest = [
                (item, ref) for item, ref in plan if not self._has(ref.digest) and ref.digest not in pending
            ]
            if not rest:
                break
            # Where one delta gave other bytes, all may: better no part of an update than half of it.
            doubtful = pending if self._fallback.off is not None else frozenset[str]()
            worst = [ref for _, ref in plan if self._fallback.is_lost(ref.digest) or ref.digest in doubtful]
            self._fallback.check(release, worst, self._store.blobs.size_bytes)
            await self._fetcher.blobs(release, rest)
            if not pending:
                break
        self._wait_for(release, ())
        self._fallback.settle([item.digest for item, _ in plan])

    def _versions(self, release: Release) -> tuple[Manifest, Manifest, Release] | None:
        """What is wanted, and what is here to rebuild it from; None without."""
        record = self._store.state.record
        wanted = self._store.manifest(release)
        others = [item.release for item in record.slot(release.model).installed]
        for other in others:
            if other.manifest_digest != release.manifest_digest:
                held = self._store.manifest(other)
                if wanted is not None and held is not None and has_base(held, self._has):
                    return wanted, held, other
        return None

    async def _ask(
        self, release: Release, wanted: Manifest, held: Manifest, held_release: Release, plan: Plan
    ) -> Sequence[Rebuild]:
        """What comes as deltas; what was hoped to has to come whole."""
        fallback = self._fallback
        deltas = await run_blocking(lambda: DeltaPlan(wanted, held, plan, self._has, fallback.is_lost))
        if not deltas.digests:
            return ()
        try:
            offers = await self._offers.between(release, held_release, deltas, ask=fallback.off is None)
        except Error as error:
            if isinstance(error, LinkError) and not self._offers.in_vain:
                raise
            fallback.lose(deltas.digests, Reason.NO_OFFERS, error)
            return ()
        rebuilds = await run_blocking(lambda: self._chosen(release, deltas, offers))
        if fallback.off is None:
            return rebuilds
        here = [rebuild for rebuild in rebuilds if self._has(rebuild.delta.digest)]
        given_up = {*deltas.digests} - {ref.digest for rebuild in here for ref in rebuild.refs}
        fallback.lose(given_up, fallback.off, "no delta is asked for until the next start")
        return here

    def _wait_for(self, release: Release, deltas: Collection[str]) -> None:
        """Tidying up leaves these deltas alone, and those of other models' updates that were interrupted."""
        wanted = {goal.release.model for goal in self._store.state.record.goals} - {release.model}
        others = {model: waiting for model, waiting in self._waiting.items() if model in wanted}
        self._waiting = {**others, release.model: frozenset(deltas)}
        self._store.waiting = frozenset[str]().union(*self._waiting.values())

    def _chosen(self, release: Release, deltas: DeltaPlan, offers: Sequence[DeltaOffer]) -> Sequence[Rebuild]:
        record = self._store.state.record
        goals = [goal.release for goal in record.goals]
        kept = [item.release for slot in record.slots for item in slot.installed]
        manifests = filter(None, map(self._store.manifest, [*goals, *kept]))
        taken = {ref.digest for manifest in manifests for ref in manifest.device_refs()}
        rebuilds = deltas.rebuilds(offers, self._store.blobs.size_bytes, taken)
        self._wait_for(release, [rebuild.delta.digest for rebuild in rebuilds])
        _log.info(
            "%d of %d missing blobs come as deltas: %d bytes instead of %d",
            sum(len(rebuild.refs) for rebuild in rebuilds),
            len(deltas.digests),
            sum(ref.size_bytes for _, ref in delta_items(rebuilds)),
            sum(ref.size_bytes for rebuild in rebuilds for ref in rebuild.refs),
        )
        return rebuilds

    async def _fetch_deltas(self, release: Release, plan: Plan, rebuilds: Sequence[Rebuild]) -> None:
        """Each delta is on disk, or its blob has to come whole."""
        deltas = delta_items(rebuilds)
        # A rebuilt blob takes the place of its delta, which is smaller: one more delta is all that it takes.
        largest = max(deltas, key=lambda pair: pair[1].size_bytes)
        await run_blocking(lambda: self._fetcher.check_room([*plan, largest]))
        for left in reversed(range(_ROUNDS)):
            try:
                await self._fetcher.blobs(release, deltas)
            except _NOT_TO_BE_HAD as error:
                missing = [item.digest for item, _ in deltas if not self._has(item.digest)]
                blamed = set(missing[:1] if left else missing)
                lost = [
                    ref.digest
                    for rebuild in rebuilds
                    for ref in rebuild.refs
                    if rebuild.delta.digest in blamed and not self._has(ref.digest)
                ]
                self._fallback.lose(lost, Reason.NOT_FETCHED, error)
                deltas = [pair for pair in deltas if pair[0].digest not in blamed]
            else:
                return

    def _has(self, digest: str) -> bool:
        return self._store.blobs.has(digest)
