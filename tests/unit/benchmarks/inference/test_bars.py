"""What the rows have to show is asked of the product's rows, each beside the peers of its own run."""

from __future__ import annotations

from dataclasses import replace

from benchmarks.inference.accuracy.score import COSINE, TOP1, Score, score_misses, score_table
from benchmarks.inference.bars import misses
from benchmarks.inference.row import NESTFLEET, ORT_INT8, TORCH_FP32, Row
from benchmarks.inference.table import tables

OURS = Row("resnet18", NESTFLEET, 4, 1, 2, 10.0, 11.0, 50.0, 0.2)
TORCH = replace(OURS, runtime=TORCH_FP32, level=None, p50_ms=35.0)
INT8 = replace(OURS, runtime=ORT_INT8, level=None, p50_ms=9.0)


def test_a_fast_net_misses_nothing() -> None:
    assert list(misses([OURS, TORCH, INT8])) == []


def test_each_bar_of_a_resnet() -> None:
    (slow,) = misses([OURS, replace(TORCH, p50_ms=34.0), INT8])
    assert "3.40 x as fast as torch" in slow
    (slow,) = misses([OURS, TORCH, replace(INT8, p50_ms=8.0)])
    assert "1.25 of ONNX Runtime's INT8" in slow


def test_mobilenet_is_held_against_int8_alone_and_minilm_against_torch_alone() -> None:
    rows = [OURS, replace(TORCH, p50_ms=12.0), replace(INT8, p50_ms=8.0)]
    (slow,) = misses([replace(row, model="mobilenetv2") for row in rows])
    assert "INT8" in slow
    (slow,) = misses([replace(row, model="minilm") for row in rows])
    assert "0.83 of torch's time" in slow
    assert list(misses([replace(row, model="vit-small") for row in rows])) == []


def test_a_row_is_held_against_its_own_batch_and_threads() -> None:
    other = [replace(row, batch=8, p50_ms=row.p50_ms / 100) for row in (TORCH, INT8)]
    other += [replace(row, threads=1, p50_ms=row.p50_ms / 100) for row in (TORCH, INT8)]
    assert list(misses([*other, OURS, TORCH, INT8])) == []
    assert len(list(misses([OURS, TORCH, INT8, replace(OURS, level=6, p50_ms=20.0)]))) == 2


def test_top1_may_move_by_half_a_point_either_way() -> None:
    score = Score("net", 4, TOP1, integer=0.9, float_arithmetic=0.904, unquantized=0.95)
    far = replace(score, integer=0.898)
    above = replace(score, integer=0.91)
    cosine = replace(far, measure=COSINE)
    assert [line.partition(" points")[0] for line in score_misses([score, far, above, cosine])] == [
        "net@4: integer top-1 is -0.60",
        "net@4: integer top-1 is +0.60",
    ]
    assert score_table([score, far]).row_count == 2


def test_one_table_a_model() -> None:
    made = tables([OURS, INT8, replace(OURS, model="minilm")])
    assert [(table.title, table.row_count) for table in made] == [("resnet18", 2), ("minilm", 1)]
