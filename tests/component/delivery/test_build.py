"""A version is registered with all of its blobs, or not at all."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import safetensors.torch
import torch

from common.errors import ConflictError
from common.manifest import Manifest, from_json
from server.delivery.build import Building
from server.delivery.order import OPTIONAL, Part, PushOrder
from server.quantize.plan import DEFAULT_MAX_BLOB_BYTES
from server.registry.repository import Registry
from server.storage.garbage import collect
from server.storage.object_store import open_blob_store
from server.storage.port import BlobStore
from tests.support.pushes import GRAPH, SAMPLES, WEIGHTS, tiny_parts

FAR_FUTURE_MS = 1 << 42


@dataclass(frozen=True, slots=True)
class Works:
    """What a build needs, with the parts of a push in place."""

    registry: Registry
    store: BlobStore
    building: Building
    order: PushOrder
    folder: Path

    def build(self, *, fresh: bool = False) -> tuple[Manifest, list[tuple[str, int, int]]]:
        """The next version, and what was told on the way."""
        told: list[tuple[str, int, int]] = []
        record = self.building.build(
            replace(self.order, fresh=fresh), self.folder, lambda *step: told.append(step)
        )
        return from_json(self.registry.get_manifest(record.manifest_digest)), told


@pytest.fixture
def works(tmp_path: Path) -> Iterator[Works]:
    for part, number in ((Part.GRAPH, GRAPH), (Part.WEIGHTS, WEIGHTS), (Part.SAMPLES, SAMPLES)):
        (tmp_path / part.value).write_bytes(tiny_parts()[number])
    sizes = dict.fromkeys(Part, 0) | {
        part: (tmp_path / part.value).stat().st_size for part in Part if part not in OPTIONAL
    }
    order = PushOrder("tiny", (4, 8), "floor", sizes, 0.0, DEFAULT_MAX_BLOB_BYTES)
    registry = Registry.open(f"sqlite:///{tmp_path / 'registry.sqlite'}")
    store = open_blob_store("memory://")
    try:
        yield Works(registry, store, Building(registry, store), order, tmp_path)
    finally:
        registry.close()


def test_a_collection_that_outruns_a_push_costs_the_push_and_no_more(works: Works) -> None:
    def sweep_at_the_end(step: str, _done: int, _total: int) -> None:
        if step == "store":
            assert collect(works.store, works.registry, grace_seconds=1, now_unix_ms=FAR_FUTURE_MS).blobs

    with pytest.raises(ConflictError, match="Push again"):
        works.building.build(works.order, works.folder, sweep_at_the_end)
    assert works.registry.list_versions() == []
    manifest, _ = works.build()
    assert manifest.version == 1


def test_the_next_version_looks_at_the_newest_before_it_unless_it_shall_be_fresh(works: Works) -> None:
    assert [step for step, _, _ in works.build()[1] if step == "scales"] == []
    moved = safetensors.torch.load_file(works.folder / Part.WEIGHTS.value)
    moved = {name: tensor + 1e-4 * torch.randn_like(tensor) for name, tensor in moved.items()}
    safetensors.torch.save_file(moved, works.folder / Part.WEIGHTS.value)
    kept, told = works.build()
    ((_, rows, of),) = [item for item in told if item[0] == "scales"]
    assert 0 < rows <= of
    again, _ = works.build()
    assert again.blocks == kept.blocks
    fresh, told = works.build(fresh=True)
    assert "scales" not in {step for step, _, _ in told}
    assert fresh.version == 4


def test_a_version_before_whose_blobs_are_lost_is_as_none(works: Works) -> None:
    manifest, _ = works.build()
    for block in manifest.blocks:
        works.store.delete(block.blobs[-1].digest)
    works.store.delete(manifest.graph.digest)
    second, told = works.build()
    assert second.blocks == manifest.blocks
    assert [done for step, done, _ in told if step == "scales"] == [0]
