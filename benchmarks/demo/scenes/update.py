"""Version 2, its last layers fine-tuned: only the blobs that changed travel."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from nestfleet.v1 import catalog_pb2

from benchmarks.demo.inference import MODEL
from benchmarks.demo.scenes.stage import Stage, push
from common.byte_sizes import format_bytes

_LEDGER_SECONDS = 15.0


@dataclass(frozen=True, slots=True)
class Updated:
    """What the update moved.

    Attributes:
        wire_bytes: Received by the largest board, metadata and all.
        full_bytes: What it would have received without version 1 on its disk.
        changed_blobs, blobs: How many of the version's blobs are new, of how many.
        accuracy: Level to accuracy over HTTP.
    """

    wire_bytes: int
    full_bytes: int
    changed_blobs: int
    blobs: int
    accuracy: Mapping[str, float]


def update(stage: Stage, layers: str) -> Updated:
    """Push version 2 and roll it out."""
    display, fleet = stage.display, stage.fleet
    display.scene("Version 2: the last layers were fine-tuned with new data")
    display.say(f"Only {layers} changed, so only their blobs need to travel.")
    first = fleet.client.get_version(MODEL, 1)
    second = push(stage.operator, fleet.client, 2)
    known = {ref.digest for ref in first.manifest.blob_refs()}
    fresh = {ref.digest: ref.size_bytes for ref in second.manifest.blob_refs() if ref.digest not in known}
    before_bytes = fleet.moved_by_largest().moved_bytes
    stage.assign(2)
    stage.wait_until_all_run(2)
    wire_bytes = _wait_for_ledger(stage, before_bytes + sum(fresh.values())) - before_bytes
    full_bytes = whole_bytes(second.version.sizes)
    blobs = len({ref.digest for ref in second.manifest.blob_refs()})
    display.result(
        f"{len(fresh)} of {blobs} blobs were new; the gateway received {format_bytes(wire_bytes)} "
        f"instead of {format_bytes(full_bytes)}"
    )
    return Updated(wire_bytes, full_bytes, len(fresh), blobs, stage.measure(2))


def whole_bytes(sizes: catalog_pb2.SizeReport) -> int:
    """What a board without any earlier version receives at the full level."""
    return sizes.base_bytes + sum(shard.size_bytes for shard in sizes.shards) + sizes.metadata_bytes


def _wait_for_ledger(stage: Stage, least_bytes: int) -> int:
    """All that the largest board ever received, once its report accounts for every new blob."""
    largest = stage.fleet.largest.device_id
    views = stage.fleet.wait(
        f"the ledger of {largest} accounts for version 2",
        lambda views: views[largest].moved.moved_bytes >= least_bytes,
        seconds=_LEDGER_SECONDS,
    )
    return views[largest].moved.moved_bytes
