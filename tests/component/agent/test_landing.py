"""Received bytes reach the disk whatever happens to who received them."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from common.digest import sha256_hex
from common.manifest import BlobRef
from device_agent.store.ledger import Item, Kind
from device_agent.store.records import Release
from device_agent.store.store import Store
from device_agent.update.landing import Landing

RELEASE = Release("net", 1, "ab" * 32, 100)
BLOBS = [os.urandom(5000) for _ in range(20)]
REFS = [BlobRef(sha256_hex(data), len(data), len(data), "raw") for data in BLOBS]


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    opened = Store.open(tmp_path, "board")
    opened.expect(RELEASE, [Item(ref.digest, Kind.BASE, 4, ref.size_bytes) for ref in REFS])
    yield opened
    opened.close()


async def take_all(landing: Landing) -> None:
    for data, ref in zip(BLOBS, REFS, strict=True):
        await landing.take(ref.digest, data[:3000])
        await landing.take(ref.digest, data[3000:])
        await landing.complete(ref)


async def test_blobs_are_whole_and_progress_is_told(store: Store) -> None:
    written: list[int] = []
    landing = Landing(store, lambda: written.append(len(store.blobs.present)))
    await take_all(landing)
    await landing.settle()
    assert store.blobs.present == {ref.digest for ref in REFS}
    assert written[-1] == len(REFS)
    assert landing.wrong == {}


async def test_what_is_wrong_is_named_and_keeps_no_other_from_its_place(store: Store) -> None:
    landing = Landing(store, lambda: None)
    await landing.take(REFS[0].digest, BLOBS[1])
    await landing.complete(REFS[0])
    await landing.take(REFS[1].digest, BLOBS[1])
    await landing.complete(REFS[1])
    await landing.settle()
    assert set(landing.wrong) == {REFS[0].digest}
    assert store.blobs.present == {REFS[1].digest}


@pytest.mark.parametrize("turns", range(1, 12))
async def test_a_cancellation_at_any_moment_loses_no_byte(store: Store, turns: int) -> None:
    landing = Landing(store, lambda: None)
    await take_all(landing)
    settling = asyncio.create_task(landing.settle())
    for _ in range(turns):
        await asyncio.sleep(0)
    settling.cancel()
    settling.cancel()
    await asyncio.gather(settling, return_exceptions=True)
    assert store.blobs.present == {ref.digest for ref in REFS}
    totals = store.ledger.totals()
    assert [total.kind for total in totals if total.kind is Kind.RETRANSMITTED] == []
