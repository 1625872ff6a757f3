"""The runtimes by name."""

from __future__ import annotations

from typing import Final

from benchmarks.inference.processes.messages import Job
from benchmarks.inference.row import NESTFLEET, ORT_FP32, ORT_INT8, TORCH_FP32
from benchmarks.inference.runtimes.runtime import Runtime

PEERS: Final = (TORCH_FP32, ORT_FP32, ORT_INT8)


def start(job: Job) -> Runtime:
    """The runtime of a job in this process, with all that it imports and nothing loaded; imports no other."""
    if job.runtime == NESTFLEET:
        from benchmarks.inference.runtimes.nestfleet import Nestfleet  # noqa: PLC0415

        return Nestfleet(job.threads)
    if job.runtime == TORCH_FP32:
        from benchmarks.inference.runtimes.torch_eager import TorchEager  # noqa: PLC0415

        return TorchEager(job.threads, job.files)
    from benchmarks.inference.runtimes.onnx_runtime import OnnxRuntime  # noqa: PLC0415

    return OnnxRuntime(job.threads, quantized={ORT_FP32: False, ORT_INT8: True}[job.runtime])
