"""Version 2, its last layers fine-tuned: only the blobs that changed travel."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from nestfleet.v1 import catalog_pb2

from benchmarks.demo.inference import MODEL
from benchmarks.demo.scenes.stage import Measured, Stage, push
from benchmarks.demo.views import payload_bytes
from common.byte_sizes import format_bytes


@dataclass(frozen=True, slots=True)
class Updated:
    """What the update moved.

    Attributes:
        wire_bytes: Payload that the largest board received, metadata and all.
        full_bytes: What it would have received without version 1 on its disk.
        changed_blobs, blobs: How many of the version's blobs are new, of how many.
        measured: Level to how well it answers over HTTP.
    """

    wire_bytes: int
    full_bytes: int
    changed_blobs: int
    blobs: int
    measured: Mapping[str, Measured]


def update(stage: Stage, layers: str) -> Updated:
    """Push version 2 and roll it out."""
    display, fleet = stage.display, stage.fleet
    display.scene("Version 2: the last layers were fine-tuned with new data")
    display.say(f"Only {layers} changed, so only their blobs need to travel.")
    first = fleet.client.get_version(MODEL, 1)
    second = push(stage.operator, fleet.client, 2, display)
    known = {ref.digest for ref in first.manifest.device_refs()}
    wanted = {ref.digest for ref in second.manifest.device_refs()}
    before_bytes = payload_bytes(fleet.ledger_of_largest())
    stage.assign(2)
    stage.wait_until_all_run(2)
    wire_bytes = payload_bytes(fleet.ledger_of_largest()) - before_bytes
    full_bytes = whole_bytes(second.version.sizes)
    changed = len(wanted - known)
    display.result(
        f"{changed} of {len(wanted)} blobs were new; the gateway received {format_bytes(wire_bytes)} "
        f"instead of {format_bytes(full_bytes)}"
    )
    return Updated(wire_bytes, full_bytes, changed, len(wanted), stage.measure(2))


def whole_bytes(sizes: catalog_pb2.SizeReport) -> int:
    """What a board without any earlier version receives at the full level."""
    return sizes.base_bytes + sum(shard.size_bytes for shard in sizes.shards) + sizes.metadata_bytes
