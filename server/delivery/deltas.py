"""Deltas on demand: made once however many devices ask, one at a time for each pair of versions."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, AsyncIterator, Generator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, Final

from common.errors import CapacityError
from server.delivery.delta_maker import DeltaMaker
from server.delivery.delta_pair import DeltaOffer, DeltaPair, Place, load_pair
from server.quantize.workers.cores import usable_cores
from server.registry.records import DeltaRecord
from server.registry.repository import Registry
from server.storage.port import BlobStore

_PAIRS: Final = 64
_BATCH: Final = 256
_SIGN_OF_LIFE_SECONDS: Final = 10.0


@dataclass(slots=True, eq=False)
class _Work:
    """A pair while somebody asks for its deltas, or one is being made.

    Attributes:
        pair: Set once it is loaded.
        users: Who would miss it.
        making: Held while a delta of the pair is made.
        tasks: Deltas under way.
    """

    pair: asyncio.Future[DeltaPair]
    users: int = 0
    making: asyncio.Lock = field(default_factory=asyncio.Lock)
    tasks: dict[Place, asyncio.Task[DeltaRecord]] = field(default_factory=dict)


class Deltas:
    """Offers deltas, and makes those that nobody asked for before. Lives on one event loop.

    Args:
        registry: Knows versions and deltas.
        store: Has blobs, and gets deltas.
        threads: How many deltas are made at once; 0: half of the cores, since devices are served beside it.
        pairs: For how many pairs of versions deltas are made at once; more are put off.
        sign_of_life_seconds: Longest silence while a delta is made.
    """

    def __init__(
        self,
        registry: Registry,
        store: BlobStore,
        *,
        threads: int = 0,
        pairs: int = _PAIRS,
        sign_of_life_seconds: float = _SIGN_OF_LIFE_SECONDS,
    ) -> None:
        self._registry = registry
        self._maker = DeltaMaker(registry, store)
        self._pool = ThreadPoolExecutor(threads or max(1, usable_cores() // 2), "delta")
        self._pairs = pairs
        self._sign_of_life_seconds = sign_of_life_seconds
        self._works: dict[tuple[str, str], _Work] = {}

    async def offers(
        self,
        wanted_digest: str,
        held_digest: str,
        blobs_per_block: Sequence[int],
        present_per_block: Sequence[int] = (),
    ) -> AsyncGenerator[list[DeltaOffer], None]:
        """Deltas in the order of fetching, as they are made; an empty list says that more may come.

        Args:
            wanted_digest: Manifest of the version that is wanted.
            held_digest: Manifest of the version that is held.
            blobs_per_block: How many of each wanted block's blobs.
            present_per_block: How many of them, from the base up, are there already; empty for none.

        Raises:
            NotFoundError: One of the versions is none, or gone.
            InvalidInputError: These numbers do not fit the version.
            CapacityError: Deltas are made for too many pairs already.
            LinkError: Store or registry is away.
        """
        async with self._using(wanted_digest, held_digest) as work:
            pair = await asyncio.shield(work.pair)
            batch: list[DeltaOffer] = []
            for place in await asyncio.to_thread(pair.places, blobs_per_block, present_per_block):
                if place not in pair.known:
                    yield batch
                    batch = []
                    task = self._task(work, pair, place)
                    while not (await asyncio.wait([task], timeout=self._sign_of_life_seconds))[0]:
                        yield []
                    record = task.result()
                else:
                    record = pair.known[place]
                offer = pair.offer(place, record)
                if offer is not None:
                    batch.append(offer)
                if len(batch) >= _BATCH:
                    yield batch
                    batch = []
            yield batch

    async def close(self) -> None:
        """What is being made has ended, and nothing else begins."""
        tasks = [task for work in self._works.values() for task in work.tasks.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await asyncio.to_thread(self._pool.shutdown, cancel_futures=True)

    @contextlib.asynccontextmanager
    async def _using(self, wanted_digest: str, held_digest: str) -> AsyncIterator[_Work]:
        key = wanted_digest, held_digest
        work = self._works.get(key)
        if work is None:
            if len(self._works) >= self._pairs:
                raise CapacityError(
                    f"Deltas are made for {self._pairs} pairs of versions already.", advice="Ask again later."
                )
            loading = asyncio.to_thread(load_pair, self._registry, wanted_digest, held_digest)
            work = self._works[key] = _Work(asyncio.ensure_future(loading))
            work.pair.add_done_callback(_seen)
        with self._counted(key, work):
            yield work

    @contextlib.contextmanager
    def _counted(self, key: tuple[str, str], work: _Work) -> Generator[None, None, None]:
        work.users += 1
        try:
            yield
        finally:
            work.users -= 1
            if not work.users and self._works.get(key) is work:
                del self._works[key]

    def _task(self, work: _Work, pair: DeltaPair, place: Place) -> asyncio.Task[DeltaRecord]:
        if place not in work.tasks:
            work.tasks[place] = asyncio.create_task(self._make(work, pair, place))
            work.tasks[place].add_done_callback(_seen)
        return work.tasks[place]

    async def _make(self, work: _Work, pair: DeltaPair, place: Place) -> DeltaRecord:
        """Made to its end even when nobody waits any more: the next who asks finds it."""
        with self._counted((pair.wanted_digest, pair.held_digest), work):
            try:
                async with work.making:
                    loop = asyncio.get_running_loop()
                    record = await loop.run_in_executor(self._pool, self._maker.make, pair, place)
                pair.known[place] = record
                return record
            finally:
                del work.tasks[place]


def _seen(task: asyncio.Future[Any]) -> None:
    """A failure that nobody waits for any more is no bug."""
    if not task.cancelled():
        task.exception()
