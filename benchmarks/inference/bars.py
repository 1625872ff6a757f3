"""What the rows have to show."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from benchmarks.inference.nets.registry import MINILM, MOBILENET_V2, RESNET18, RESNET50
from benchmarks.inference.row import NESTFLEET, ORT_INT8, TORCH_FP32, Row

_RESNETS: Final = frozenset({RESNET18, RESNET50})
_CONVOLUTIONAL: Final = _RESNETS | {MOBILENET_V2}
LEAST_SPEEDUP: Final = 3.5  # of a ResNet over torch
MOST_OF_INT8: Final = 1.15  # time of a convolutional net, of ONNX Runtime's static INT8
MOST_OF_TORCH: Final = 0.8  # time of MiniLM


def beside(row: Row, runtime: str, rows: Sequence[Row]) -> Row | None:
    """Another runtime's row of the same model, batch and threads."""
    same = (row.model, row.batch, row.threads)
    found = (each for each in rows if each.runtime == runtime)
    return next((each for each in found if (each.model, each.batch, each.threads) == same), None)


def misses(rows: Sequence[Row]) -> Iterator[str]:
    """A line for each row that is slower than it has to be."""
    for row in rows:
        if row.runtime != NESTFLEET:
            continue
        torch, int8 = beside(row, TORCH_FP32, rows), beside(row, ORT_INT8, rows)
        what = f"{row.model}, {row.label}, batch {row.batch}, threads {row.threads}"
        if torch and row.model in _RESNETS and torch.p50_ms < LEAST_SPEEDUP * row.p50_ms:
            yield f"{what}: {torch.p50_ms / row.p50_ms:.2f} x as fast as torch, not {LEAST_SPEEDUP}"
        if int8 and row.model in _CONVOLUTIONAL and row.p50_ms > MOST_OF_INT8 * int8.p50_ms:
            yield f"{what}: {row.p50_ms / int8.p50_ms:.2f} of ONNX Runtime's INT8, not {MOST_OF_INT8}"
        if torch and row.model == MINILM and row.p50_ms > MOST_OF_TORCH * torch.p50_ms:
            yield f"{what}: {row.p50_ms / torch.p50_ms:.2f} of torch's time, not {MOST_OF_TORCH}"
