"""``report.json``: every number that the run measured."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from nestfleet.v1 import catalog_pb2, fleet_pb2

from benchmarks.demo.scenes.delivery import Delivered
from benchmarks.demo.scenes.paging import Paged
from benchmarks.demo.scenes.refusal import Refused
from benchmarks.demo.scenes.stage import Measured
from benchmarks.demo.scenes.update import Updated
from server.ledger.savings import Kind


def sizes_part(sizes: catalog_pb2.SizeReport) -> dict[str, Any]:
    """What version 1 weighs under other schemes, computed by the server at push."""
    return {
        "fp32_bytes": sizes.fp32_bytes,
        "int8_bytes": sizes.int8_bytes,
        "separate_models_bytes": sum(item.size_bytes for item in sizes.separate),
        "paper_packed_bytes": sizes.paper_high_bytes + sizes.paper_low_bytes,
        "full_named_bytes": sizes.base_bytes
        + sum(item.size_bytes for item in sizes.shards)
        + sizes.metadata_bytes,
        "weights": sizes.weights,
        "floats": sizes.floats,
    }


def delivery_part(delivered: Delivered, fp32_accuracy: float, largest: str) -> dict[str, Any]:
    """What version 1 moved to the largest board, and what the fleet then answered."""
    moved = delivered.moved
    return {
        "base_wire_bytes": moved.base_bytes,
        "full_wire_bytes": moved.base_bytes + moved.shard_bytes + moved.metadata_bytes,
        "metadata_wire_bytes": moved.metadata_bytes,
        "retransmitted_bytes": moved.retransmitted_bytes,
        "first_inference_seconds": delivered.start_to_answer_seconds[largest],
        "first_inference_seconds_by_device": dict(delivered.start_to_answer_seconds),
        "assign_to_answer_seconds": dict(delivered.assign_to_answer_seconds),
        "answers_while_lifting": delivered.answers_while_lifting,
        "assign_to_full_level_seconds": delivered.assign_to_full_seconds,
        **_quality("", fp32_accuracy, delivered.measured),
    }


def moved_part(fleet: fleet_pb2.Savings) -> dict[str, Any]:
    """All that crossed the fleet's links in the whole run, as last reported: payload, and overhead."""
    return {
        "moved_bytes": fleet.moved_bytes,
        "moved_bytes_by_kind": {kind.value: getattr(fleet, f"{kind}_bytes") for kind in Kind},
    }


def paging_part(paged: Paged) -> dict[str, Any]:
    """What a smaller and again larger budget cost."""
    quality = {"before": paged.before, "evicted": paged.evicted, "restored": paged.restored}
    return {
        "evict_wire_bytes": paged.evict_wire_bytes,
        "page_in_wire_bytes": paged.page_in_wire_bytes,
        "evict_freed_memory_bytes": paged.freed_bytes,
        "evict_seconds": paged.evict_seconds,
        "page_in_seconds": paged.page_in_seconds,
        "paging_accuracy": {moment: measured.accuracy for moment, measured in quality.items()},
        "paging_output_error": {moment: measured.output_error for moment, measured in quality.items()},
        "answers_while_paging": paged.answers,
    }


def update_part(updated: Updated, fp32_accuracy: float) -> dict[str, Any]:
    """What version 2 moved to the largest board."""
    return {
        "update_wire_bytes": updated.wire_bytes,
        "update_full_bytes": updated.full_bytes,
        "update_changed_blobs": updated.changed_blobs,
        "update_blobs": updated.blobs,
        **_quality("update_", fp32_accuracy, updated.measured),
    }


def refusal_part(refused: Refused, fp32_accuracy: float) -> dict[str, Any]:
    """Who stayed on version 2, and why."""
    return {
        "rolled_back": sorted(refused.reasons),
        "rolled_back_reasons": dict(refused.reasons),
        **_quality("rolled_back_", fp32_accuracy, refused.measured),
    }


def _quality(prefix: str, fp32_accuracy: float, measured: Mapping[str, Measured]) -> dict[str, Any]:
    accuracy = {level: item.accuracy for level, item in measured.items()}
    return {
        f"{prefix}accuracy": {"fp32": fp32_accuracy, **accuracy},
        f"{prefix}output_error": {level: item.output_error for level, item in measured.items()},
    }


def write(path: Path, report: dict[str, Any]) -> None:
    """Store the report."""
    path.write_text(json.dumps(report, indent=2, ensure_ascii=False) + "\n", "utf-8")
