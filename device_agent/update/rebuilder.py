"""From deltas on disk to blobs on disk, and what to think of those that do not get there."""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Callable, Sequence

from common.errors import Error, IntegrityError, NotFoundError
from common.manifest import Manifest
from device_agent.blocking import run_blocking
from device_agent.store.store import Store
from device_agent.update.delta_plan import Rebuild, by_block
from device_agent.update.fallback import Fallback, Reason
from device_agent.update.rebuild import BlockRebuild

_Failure = tuple[str, Reason, Error]


class Rebuilder:
    """Rebuilds what can be rebuilt.

    Args:
        store: Has deltas and blobs.
        fallback: Learns what has to come whole.
        on_progress: Called after every delta.
    """

    def __init__(self, store: Store, fallback: Fallback, on_progress: Callable[[], None]) -> None:
        self._store = store
        self._fallback = fallback
        self._on_progress = on_progress

    async def run(self, wanted: Manifest, held: Manifest, rebuilds: Sequence[Rebuild]) -> None:
        """What can be rebuilt now is; what cannot has to come whole; what lacks a blob below it is left.

        Raises:
            CapacityError: The disk does not take it.
        """
        open_rebuilds = [rebuild for rebuild in rebuilds if self.pending([rebuild])]
        uses = Counter(rebuild.delta.digest for rebuild in open_rebuilds)
        failures: list[_Failure] = []
        try:
            for group in by_block(open_rebuilds):
                block = BlockRebuild(wanted, held, group[0], self._store.blobs.read)
                for rebuild in group:
                    if not all(self._store.blobs.has(ref.digest) for ref in rebuild.below):
                        break
                    failures += await run_blocking(functools.partial(self._rebuild, block, rebuild))
                    uses[rebuild.delta.digest] -= 1
                    if not uses[rebuild.delta.digest]:
                        await run_blocking(functools.partial(self._store.drop, rebuild.delta.digest))
                    self._on_progress()
        finally:
            self._lose(failures)

    def pending(self, rebuilds: Sequence[Rebuild]) -> set[str]:
        """Digests of the blobs that are neither here nor have to come whole."""
        digests = {ref.digest for rebuild in rebuilds for ref in rebuild.refs}
        return {
            digest
            for digest in digests
            if not self._store.blobs.has(digest) and not self._fallback.is_lost(digest)
        }

    def _rebuild(self, block: BlockRebuild, rebuild: Rebuild) -> list[_Failure]:
        """The blobs are in the store, but for those that are given with the reason."""
        missing = [ref.digest for ref in rebuild.refs if not self._store.blobs.has(ref.digest)]
        try:
            block.prepare(rebuild.span)
            delta = self._store.blobs.read(rebuild.delta.digest)
        except (IntegrityError, NotFoundError) as error:
            return [(digest, Reason.DAMAGED, error) for digest in missing]
        try:
            blobs = block.blobs(rebuild.span, delta)
        except IntegrityError as error:
            return [(digest, Reason.NOT_REBUILT, error) for digest in missing]
        failures: list[_Failure] = []
        # The base last: after a kill the same delta is asked for, and that one is here.
        for ref, data in zip(reversed(rebuild.refs), reversed(blobs), strict=True):
            if ref.digest not in missing:
                continue
            if data is None:
                cause = IntegrityError(f"Blob {ref.digest[:12]} comes out of its delta with other bytes.")
                failures.append((ref.digest, Reason.NOT_REBUILT, cause))
            else:
                self._store.put_whole(ref, data)
        return failures

    def _lose(self, failures: Sequence[_Failure]) -> None:
        for reason in Reason:
            found = {digest: error for digest, why, error in failures if why is reason}
            if found:
                self._fallback.lose(found, reason, next(iter(found.values())))
        if any(reason is Reason.NOT_REBUILT for _, reason, _ in failures):
            self._fallback.off = Reason.NOT_REBUILT
