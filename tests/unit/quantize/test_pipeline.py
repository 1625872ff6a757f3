"""A graph and a weights file become a version whose blobs answer as its self-test says."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch
from torch.nn import functional

from common.errors import CapacityError, InvalidInputError
from common.graph import codec
from common.graph.build import build
from common.graph.model import Graph, Input, Node, Output, State, StateRef, ValueRef
from common.manifest import BlobRef, from_json, to_json
from common.self_test import check, decode
from server.quantize.level_source import LevelSource
from server.quantize.order import Order
from server.quantize.pipeline import quantize
from server.quantize.quantized import Quantized
from server.quantize.samples import Samples
from server.quantize.spool import Spool

LEVELS = (4, 6, 8)
WORDS, WIDTH = 50, 24
ORDER = Order(LEVELS, max_blob_bytes=16 * 1024)


def node(name: str, op: str, *args: ValueRef | StateRef | int) -> Node:
    return Node(name, f"aten.{op}", "", args, {})


# Words to scores over the same words: the table is shared by the embedding and the last layer.
GRAPH = Graph(
    inputs=(Input("words", "int64", (None, 3)),),
    states=(
        State("bias", "float32", (WORDS,)),
        State("factor", "bfloat16", ()),
        State("hidden", "float32", (WIDTH, WIDTH)),
        State("table", "float32", (WORDS, WIDTH)),
    ),
    nodes=(
        node("vectors", "embedding.default", StateRef("table"), ValueRef("words")),
        node("mixed", "linear.default", ValueRef("vectors"), StateRef("hidden")),
        node("scaled", "mul.Tensor", ValueRef("mixed"), StateRef("factor")),
        node("scores", "linear.default", ValueRef("scaled"), StateRef("table"), StateRef("bias")),
    ),
    outputs=(Output("scores", ValueRef("scores"), "float32", (None, 3, WORDS)),),
)
SAMPLES = Samples((np.random.default_rng(0).integers(0, WORDS, (10, 3)),))


def some_weights(seed: int = 0) -> dict[str, torch.Tensor]:
    random = torch.Generator().manual_seed(seed)
    return {
        "bias": torch.randn(WORDS, generator=random),
        "factor": torch.tensor(0.75, dtype=torch.bfloat16),
        "hidden": torch.randn(WIDTH, WIDTH, generator=random),
        "table": torch.randn(WORDS, WIDTH, generator=random),
        "unused by the graph": torch.zeros(3),
    }


@dataclass
class Push:
    """One run of the pipeline, with everything that came out of it."""

    weights: dict[str, torch.Tensor]
    folder: Path
    order: Order = ORDER
    samples: Samples = SAMPLES
    store: dict[str, bytes] = field(default_factory=dict)
    reports: list[tuple[str, int, int]] = field(default_factory=list)

    def run(self, graph: Graph = GRAPH) -> Quantized:
        path = self.folder / "weights.safetensors"
        safetensors.torch.save_file(self.weights, path)
        return quantize(
            graph,
            path,
            self.samples,
            self.order,
            sink=lambda ref, data: self.store.__setitem__(ref.digest, data),
            report=lambda *step: self.reports.append(step),
        )


def test_a_version_is_whole_and_answers_as_its_self_test_says(tmp_path: Path) -> None:
    push = Push(some_weights(), tmp_path)
    quantized = push.run()
    manifest = quantized.manifest("words", 3)
    assert from_json(to_json(manifest)) == manifest
    assert {ref.digest for ref in manifest.blob_refs()} == set(push.store)
    assert all(len(push.store[ref.digest]) == ref.size_bytes for ref in manifest.blob_refs())
    graph = codec.from_zstd(push.store[quantized.graph.digest])
    assert replace(graph, ranges=()) == GRAPH
    assert [found.value for found in graph.ranges] == ["vectors", "mixed", "scaled", "scores"]
    self_test = decode(push.store[quantized.self_test.digest], quantized.self_test, LEVELS)
    for level in LEVELS:
        source = LevelSource(manifest.blocks, LEVELS, level, push.store.__getitem__)
        outputs = build(graph)(source, *map(torch.from_numpy, self_test.inputs))
        check(self_test, level, [output.numpy() for output in outputs])


def test_the_full_level_is_near_the_float_model(tmp_path: Path) -> None:
    push = Push(some_weights(), tmp_path)
    quantized = push.run()
    self_test = decode(push.store[quantized.self_test.digest], quantized.self_test, LEVELS)
    weights = push.weights
    vectors = functional.embedding(torch.from_numpy(self_test.inputs[0]), weights["table"])
    scores = functional.linear((vectors @ weights["hidden"].T) * 0.75, weights["table"], weights["bias"])
    wanted = scores.numpy().reshape(self_test.samples, -1)
    errors = [
        float(np.linalg.norm(self_test.expected[level][0] - wanted) / np.linalg.norm(wanted))
        for level in LEVELS
    ]
    assert errors[0] > errors[1] > errors[2]
    assert errors[2] < 0.02


def test_a_shared_table_is_stored_once_and_unused_tensors_not_at_all(tmp_path: Path) -> None:
    blocks = Push(some_weights(), tmp_path).run().blocks
    assert [part.name for block in blocks for part in block.tensors] == ["table", "hidden"]
    assert sorted(name for block in blocks for name in block.floats) == ["bias", "factor"]


def test_only_blocks_with_changed_values_change(tmp_path: Path) -> None:
    large = {**some_weights(), "table": torch.randn(WORDS, 2 * WIDTH * 20)}
    graph = replace(
        GRAPH,
        states=(
            *GRAPH.states[:2],
            State("hidden", "float32", (960, 960)),
            State("table", "float32", (WORDS, 960)),
        ),
    )
    large["hidden"] = torch.randn(960, 960)
    order = replace(ORDER, max_blob_bytes=64 * 1024)
    first = Push(dict(large), tmp_path, order).run(graph)
    large["hidden"] = large["hidden"].clone()
    large["hidden"][-1] += 1
    second = Push(large, tmp_path, order).run(graph)
    same = [one.blobs == other.blobs for one, other in zip(first.blocks, second.blocks, strict=True)]
    assert len(same) > 5
    assert same.count(False) == 1


def test_equal_pushes_give_equal_blobs(tmp_path: Path) -> None:
    assert Push(some_weights(), tmp_path).run() == Push(some_weights(), tmp_path).run()


def test_progress_comes_in_steps_and_the_folder_is_left_as_it_was(tmp_path: Path) -> None:
    push = Push(some_weights(), tmp_path)
    quantized = push.run()
    assert push.reports[0] == ("quantize", 0, len(quantized.blocks))
    assert ("quantize", len(quantized.blocks), len(quantized.blocks)) in push.reports
    assert list(dict.fromkeys(step for step, _, _ in push.reports)) == [
        "quantize",
        "fidelity",
        "self-test",
        "ranges",
    ]
    assert [path.name for path in tmp_path.iterdir()] == ["weights.safetensors"]


def test_acceptance_labels_travel_and_are_not_enforced_here(tmp_path: Path) -> None:
    labels = np.full(10, -1)
    push = Push(some_weights(), tmp_path, replace(ORDER, min_agreement=0.9), Samples(SAMPLES.inputs, labels))
    quantized = push.run()
    self_test = decode(push.store[quantized.self_test.digest], quantized.self_test, LEVELS)
    assert self_test.min_agreement == 0.9
    np.testing.assert_array_equal(self_test.labels, labels)


@pytest.mark.parametrize(
    ("name", "tensor", "message"),
    [
        ("hidden", torch.full((WIDTH, WIDTH), float("nan")), "'hidden' has NaN or infinite"),
        ("table", torch.full((WORDS, WIDTH), float("-inf")), "'table' has NaN or infinite"),
        ("bias", torch.full((WORDS,), float("nan")), "'bias' has NaN"),
        ("bias", torch.zeros(WORDS + 1), r"'bias' is torch.float32 \[51\] in the weights file"),
        ("hidden", torch.zeros(WIDTH, WIDTH, dtype=torch.float16), "'hidden' is torch.float16"),
        ("hidden", torch.zeros(WIDTH, WIDTH, dtype=torch.float8_e4m3fn), "has type F8_E4M3"),
    ],
)
def test_unsound_weights_are_refused_by_name(
    tmp_path: Path, name: str, tensor: torch.Tensor, message: str
) -> None:
    with pytest.raises(InvalidInputError, match=message):
        Push(some_weights() | {name: tensor}, tmp_path).run()


def test_a_missing_tensor_and_a_damaged_file_are_refused(tmp_path: Path) -> None:
    weights = some_weights()
    del weights["table"]
    with pytest.raises(InvalidInputError, match="no tensor 'table'"):
        Push(weights, tmp_path).run()
    path = tmp_path / "weights.safetensors"
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(InvalidInputError, match="no safetensors file"):
        quantize(GRAPH, path, SAMPLES, ORDER, sink=lambda *_: None, report=lambda *_: None)


@pytest.mark.parametrize(
    "changes",
    [
        {"order": replace(ORDER, rounding="up")},
        {"order": replace(ORDER, max_blob_bytes=1)},
        {"order": replace(ORDER, min_agreement=0.5)},
        {"samples": Samples((SAMPLES.inputs[0].astype(np.int32),))},
        {"samples": Samples((SAMPLES.inputs[0][:, :2],))},
        {"samples": Samples((*SAMPLES.inputs, *SAMPLES.inputs))},
    ],
)
def test_orders_and_samples_that_do_not_fit_are_refused(tmp_path: Path, changes: dict[str, Any]) -> None:
    with pytest.raises(InvalidInputError):
        Push(some_weights(), tmp_path, **changes).run()


def test_what_a_report_raises_ends_the_work(tmp_path: Path) -> None:
    def stop(*_: object) -> None:
        raise CapacityError("enough")

    path = tmp_path / "weights.safetensors"
    safetensors.torch.save_file(some_weights(), path)
    with pytest.raises(CapacityError, match="enough"):
        quantize(GRAPH, path, SAMPLES, ORDER, sink=lambda *_: None, report=stop)
    assert [entry.name for entry in tmp_path.iterdir()] == ["weights.safetensors"]


def test_a_full_disk_is_a_matter_of_capacity() -> None:
    with Path("/dev/full").open("r+b", buffering=0) as full:
        spool = Spool(full)
        with pytest.raises(CapacityError, match="no room"):
            spool.put(BlobRef("0" * 64, 4, 4, "raw"), b"data")
