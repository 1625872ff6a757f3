"""The wire's benchmark counts what crosses the wire, on a model that takes no time."""

from __future__ import annotations

import torch
from torch import nn

from benchmarks.quantize.tasks.task import Task
from benchmarks.wire.run import measure
from server.export import export_model


def small_task() -> Task:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(256, 256), nn.ReLU(), nn.Linear(256, 64, bias=False)).eval()
    inputs = (torch.randn(4, 256),)
    return Task("small", export_model(model, inputs), inputs)


def test_a_row_adds_up() -> None:
    row = measure(small_task(), (4, 6, 8), "floor", lambda _: None)
    weights = 256 * 256 + 256 * 64
    summed = row.base_bits_per_weight + sum(row.shard_bits_per_weight)
    assert abs(row.total_bits_per_weight - summed) < 0.0003
    told_bytes = (row.total_bits_per_weight + row.float_bits_per_weight) * weights / 8
    assert abs(told_bytes - row.payload_bytes) < 0.0002 * weights
    assert row.base_bits_per_weight < 1.05 * row.base_entropy_bits_per_weight
    assert row.total_bits_per_weight < 1.02 * row.int8_bits_per_weight
    assert 2 <= row.shard_bits_per_weight[1] < 2.02
    assert row.paper_packed_bits_per_weight > 9
    assert 0 < row.manifest_bytes < row.metadata_bytes
    assert min(row.encode_mb_per_s, row.decode_mb_per_s) > 0
