"""Fetching by deltas where that is cheaper: ask, fetch deltas, rebuild, and fetch whole what is left."""

from __future__ import annotations

import functools
import logging
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from common.errors import Error, IntegrityError, InvalidInputError, LinkError, NotFoundError
from common.manifest import Manifest
from device_agent.blocking import run_blocking
from device_agent.link.server import DeltaOffer, ServerLink
from device_agent.store.records import Release
from device_agent.store.store import Store
from device_agent.update.delta_plan import DeltaPlan, Rebuild, by_block, delta_items
from device_agent.update.fallback import DataBudget, Fallback, NoBudget, Reason
from device_agent.update.fetch_plan import has_base
from device_agent.update.fetcher import Fetcher, Plan
from device_agent.update.rebuild import BlockRebuild

_SILENCES: Final = 3
_ROUNDS: Final = 3
_NOT_TO_BE_HAD: Final = (NotFoundError, IntegrityError, InvalidInputError)
_log = logging.getLogger(__name__)

_Failure = tuple[str, Reason, Error]


@dataclass(frozen=True, slots=True)
class _Said:
    """What a server offered: an update that is interrupted does not ask again."""

    versions: tuple[str, str]
    blobs_per_block: tuple[int, ...]
    present_per_block: tuple[int, ...]
    offers: tuple[DeltaOffer, ...]

    def covers(self, deltas: DeltaPlan) -> bool:
        """Whether the same was asked, or more."""
        return all(
            not stop or (before <= first and stop <= most)
            for first, stop, before, most in zip(
                deltas.present_per_block,
                deltas.blobs_per_block,
                self.present_per_block,
                self.blobs_per_block,
                strict=True,
            )
        )


class DeltaFetcher:
    """Brings manifests and blobs into the store, as ``Fetcher`` does, with fewer bytes.

    Deltas that have come stay on disk until their blobs are rebuilt, so a kill costs none of them.

    Args:
        fetcher: Brings what it is told to bring.
        server: Offers deltas.
        store: Has the version that is held, and gets the one that is wanted.
        budget: Asked before whole blobs come in the place of deltas.
        on_progress: Called after every blob that is rebuilt.
    """

    def __init__(
        self,
        fetcher: Fetcher,
        server: ServerLink,
        store: Store,
        *,
        on_progress: Callable[[], None],
        budget: DataBudget | None = None,
    ) -> None:
        self._fetcher = fetcher
        self._server = server
        self._store = store
        self._on_progress = on_progress
        self._fallback = Fallback(budget or NoBudget())
        self._silences = 0
        self._said: _Said | None = None

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
            Error: What the budget says of blobs that have to come whole.
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
                await self._rebuild(*versions[:2], rebuilds)
            pending = {ref for rebuild in rebuilds for ref in rebuild.refs if self._is_open(ref.digest)}
            rest = [pair for pair in plan if not self._has(pair[1].digest) and pair[1] not in pending]
            if not rest:
                break
            whole = [ref for _, ref in rest if self._fallback.is_lost(ref.digest)]
            # Where one delta gave other bytes, all may: better no part of an update than half of it.
            worst = [*whole, *pending] if self._fallback.off is not None else whole
            self._fallback.check(release, worst, self._store.blobs.size_bytes)
            await self._fetcher.blobs(release, rest)
            if not pending:
                break
        self._store.waiting = frozenset()
        self._fallback.settle([item.digest for item, _ in plan])

    def _versions(self, release: Release) -> tuple[Manifest, Manifest, Release] | None:
        """What is wanted, and what is here to rebuild it from; None without."""
        record = self._store.state.record
        wanted = self._store.manifest(release)
        others = [item.release for item in (record.active, record.previous) if item is not None]
        for other in others:
            if other.model == release.model and other.manifest_digest != release.manifest_digest:
                held = self._store.manifest(other)
                if wanted is not None and held is not None and has_base(held, self._has):
                    return wanted, held, other
        return None

    async def _ask(
        self, release: Release, wanted: Manifest, held: Manifest, held_release: Release, plan: Plan
    ) -> Sequence[Rebuild]:
        deltas = DeltaPlan(wanted, held, plan, self._has, self._fallback.is_lost)
        if not deltas.digests:
            return ()
        try:
            offers = await self._offers(release, held_release, deltas)
        except Error as error:
            if isinstance(error, LinkError) and self._silences < _SILENCES:
                raise
            self._fallback.lose(deltas.digests, Reason.NO_OFFERS, error)
            return ()
        rebuilds = await run_blocking(lambda: self._chosen(deltas, offers))
        if self._fallback.off is None:
            return rebuilds
        here = [rebuild for rebuild in rebuilds if self._has(rebuild.delta.digest)]
        given_up = {*deltas.digests} - {ref.digest for rebuild in here for ref in rebuild.refs}
        self._fallback.lose(given_up, self._fallback.off, "no delta is asked for until the next start")
        return here

    async def _offers(self, release: Release, held: Release, deltas: DeltaPlan) -> Sequence[DeltaOffer]:
        """What the server said before about these versions, or says now."""
        versions = (release.manifest_digest, held.manifest_digest)
        said = self._said
        if said is not None and said.versions == versions and said.covers(deltas):
            return said.offers
        if self._fallback.off is not None:
            return ()
        self._silences += 1
        counts = deltas.blobs_per_block, deltas.present_per_block
        offers = await self._server.offer_deltas(*versions, *counts)
        self._silences = 0
        self._said = _Said(versions, *counts, tuple(offers))
        return offers

    def _chosen(self, deltas: DeltaPlan, offers: Sequence[DeltaOffer]) -> Sequence[Rebuild]:
        record = self._store.state.record
        goal = [record.goal.release] if record.goal is not None else []
        kept = [item.release for item in (record.active, record.previous) if item is not None]
        manifests = filter(None, map(self._store.manifest, [*goal, *kept]))
        taken = {ref.digest for manifest in manifests for ref in manifest.device_refs()}
        rebuilds = deltas.rebuilds(offers, self._store.blobs.size_bytes, taken)
        self._store.waiting = frozenset(rebuild.delta.digest for rebuild in rebuilds)
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

    async def _rebuild(self, wanted: Manifest, held: Manifest, rebuilds: Sequence[Rebuild]) -> None:
        """What can be rebuilt now is; what cannot has to come whole; what lacks a blob below it is left."""
        open_rebuilds = [
            rebuild for rebuild in rebuilds if any(self._is_open(ref.digest) for ref in rebuild.refs)
        ]
        uses = Counter(rebuild.delta.digest for rebuild in open_rebuilds)
        failures: list[_Failure] = []
        try:
            for group in by_block(open_rebuilds):
                block = BlockRebuild(wanted, held, group[0], self._store.blobs.read)
                for rebuild in group:
                    if not all(self._has(ref.digest) for ref in rebuild.below):
                        break
                    failures += await run_blocking(functools.partial(self._rebuild_one, block, rebuild))
                    uses[rebuild.delta.digest] -= 1
                    if not uses[rebuild.delta.digest]:
                        await run_blocking(functools.partial(self._store.drop, rebuild.delta.digest))
                    self._on_progress()
        finally:
            self._lose(failures)

    def _rebuild_one(self, block: BlockRebuild, rebuild: Rebuild) -> list[_Failure]:
        """The blobs are in the store, but for those that are given with the reason."""
        missing = [ref for ref in rebuild.refs if not self._has(ref.digest)]
        try:
            block.prepare(rebuild.span)
            delta = self._store.blobs.read(rebuild.delta.digest)
        except (IntegrityError, NotFoundError) as error:
            return [(ref.digest, Reason.DAMAGED, error) for ref in missing]
        try:
            blobs = block.blobs(rebuild.span, delta)
        except IntegrityError as error:
            return [(ref.digest, Reason.NOT_REBUILT, error) for ref in missing]
        failures: list[_Failure] = []
        # The base last: after a kill the same delta is asked for, and that one is here.
        for ref, data in zip(reversed(rebuild.refs), reversed(blobs), strict=True):
            if data is None:
                cause = IntegrityError(f"Blob {ref.digest[:12]} comes out of its delta with other bytes.")
                failures.append((ref.digest, Reason.NOT_REBUILT, cause))
            elif ref in missing:
                self._store.put_whole(ref, data)
        return failures

    def _lose(self, failures: Sequence[_Failure]) -> None:
        for wanted in Reason:
            found = {digest: error for digest, reason, error in failures if reason is wanted}
            if found:
                self._fallback.lose(found, wanted, next(iter(found.values())))
        if any(reason is Reason.NOT_REBUILT for _, reason, _ in failures):
            self._fallback.off = Reason.NOT_REBUILT

    def _is_open(self, digest: str) -> bool:
        return not self._has(digest) and not self._fallback.is_lost(digest)

    def _has(self, digest: str) -> bool:
        return self._store.blobs.has(digest)
