"""Measures models at every level, both ways."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Final, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.inference.accuracy.score import COSINE, TOP1, Score
from benchmarks.quantize.tasks.task import Inputs, Task
from benchmarks.update.version import LEVELS, Version, make_version
from common.graph.build import StateSource, build
from device_agent.inference.served import ServedModel

_ROWS: Final = 64  # samples in one call
_PLENTY_BYTES: Final = 1 << 40

Answer: TypeAlias = Callable[[Inputs], tuple[torch.Tensor, ...]]


def measure(tasks: Mapping[str, Callable[[], Task]], say: Callable[[str], None]) -> Iterator[Score]:
    """A score for each level of one model after the other."""
    for name, make in tasks.items():
        say(f"{name}: accuracy")
        task = make()
        version = make_version(task, None)
        reference = _outputs(task, _in_floats(task, task.exported))
        what, unquantized = _value(task, reference, reference)
        for level in LEVELS:
            integer = _outputs(task, _as_a_board(task, version, level))
            floats = _outputs(task, _in_floats(task, version.source(level)))
            yield Score(
                name,
                level,
                what,
                integer=_value(task, integer, reference)[1],
                float_arithmetic=_value(task, floats, reference)[1],
                unquantized=unquantized,
            )


def _as_a_board(task: Task, version: Version, level: int) -> Answer:
    """With the product's kernels."""
    manifest = version.manifest
    served = ServedModel.load(manifest, version.blobs.__getitem__, [level] * len(manifest.blocks))
    served.set_memory(_PLENTY_BYTES)
    names = [item.name for item in task.exported.graph.inputs]

    def answer(inputs: Inputs) -> tuple[torch.Tensor, ...]:
        arrays = {name: tensor.numpy() for name, tensor in zip(names, inputs, strict=True)}
        outputs = served.infer(arrays).outputs
        return tuple(torch.from_numpy(np.array(outputs[spec.name])) for spec in served.outputs)

    return answer


def _in_floats(task: Task, source: StateSource) -> Answer:
    """With 32-bit arithmetic."""
    runner = build(task.exported.graph)
    return lambda inputs: runner(source, *inputs)


def _outputs(task: Task, answer: Answer) -> NDArray[np.float32]:
    """What the task reads from the answers: float32 [samples, features]."""
    (batch,) = task.batches
    parts = zip(*(torch.split(tensor, _ROWS) for tensor in batch.inputs), strict=True)
    answers = [answer(inputs) for inputs in parts]
    outputs = tuple(torch.cat(tensors) for tensors in zip(*answers, strict=True))
    read: NDArray[np.float32] = task.read(batch, outputs).numpy()
    return read


def _value(task: Task, outputs: NDArray[np.float32], reference: NDArray[np.float32]) -> tuple[str, float]:
    """Top-1 where samples have labels, else the cosine."""
    scores = task.score(outputs, reference)
    if scores.top1 is not None:
        return TOP1, scores.top1
    assert scores.cosine is not None
    return COSINE, scores.cosine
