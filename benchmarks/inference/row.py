"""What is measured of one model in one runtime."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

NESTFLEET: Final = "nestfleet"
TORCH_FP32: Final = "torch_fp32"
ORT_FP32: Final = "ort_fp32"
ORT_INT8: Final = "ort_int8"


@dataclass(frozen=True, slots=True)
class Row:
    """One row of the report.

    Attributes:
        model: Name of the model.
        runtime: ``nestfleet``; ``torch_fp32``: eager; ``ort_fp32`` and ``ort_int8``: ONNX Runtime on its CPU
            provider, the latter quantized statically, each channel by itself, on the same samples.
        level: At which all blocks are; None for the other runtimes.
        batch: Samples in one call.
        threads: That the runtime may use.
        p50_ms, p95_ms: Of a call, arrays in, arrays out.
        rss_mib: Resident memory after many calls, above that of the idle process: the runtime imported,
            nothing loaded. A process answers batch 1 before it answers larger ones.
        first_inference_seconds: From an idle process with the files in the page cache to its first answer, at
            batch 1; the same in the rows of all batches.
    """

    model: str
    runtime: str
    level: int | None
    batch: int
    threads: int
    p50_ms: float
    p95_ms: float
    rss_mib: float
    first_inference_seconds: float

    @property
    def label(self) -> str:
        """Runtime and level as people read them."""
        return label(self.runtime, self.level)


def label(runtime: str, level: int | None) -> str:
    """A runtime and its level as people read them."""
    return runtime if level is None else f"{runtime}@{level}"
