"""A version is registered with all of its blobs, or not at all."""

from __future__ import annotations

from pathlib import Path

import pytest

from common.errors import ConflictError
from server.delivery.build import Building
from server.delivery.order import OPTIONAL, Part, PushOrder
from server.quantize.plan import DEFAULT_MAX_BLOB_BYTES
from server.registry.repository import Registry
from server.storage.garbage import collect
from server.storage.object_store import open_blob_store
from tests.support.pushes import GRAPH, SAMPLES, WEIGHTS, tiny_parts

FAR_FUTURE_MS = 1 << 42


def test_a_collection_that_outruns_a_push_costs_the_push_and_no_more(tmp_path: Path) -> None:
    for part, number in ((Part.GRAPH, GRAPH), (Part.WEIGHTS, WEIGHTS), (Part.SAMPLES, SAMPLES)):
        (tmp_path / part.value).write_bytes(tiny_parts()[number])
    sizes = dict.fromkeys(Part, 0) | {
        part: (tmp_path / part.value).stat().st_size for part in Part if part not in OPTIONAL
    }
    order = PushOrder("tiny", (4, 8), "floor", sizes, 0.0, DEFAULT_MAX_BLOB_BYTES)
    registry = Registry.open(f"sqlite:///{tmp_path / 'registry.sqlite'}")
    store = open_blob_store("memory://")
    building = Building(registry, store)

    def sweep_at_the_end(step: str, _done: int, _total: int) -> None:
        if step == "store":
            assert collect(store, registry, grace_seconds=1, now_unix_ms=FAR_FUTURE_MS).blobs

    try:
        with pytest.raises(ConflictError, match="Push again"):
            building.build(order, tmp_path, sweep_at_the_end)
        assert registry.list_versions() == []
        record = building.build(order, tmp_path, lambda *_: None)
        assert record.version == 1
    finally:
        registry.close()
