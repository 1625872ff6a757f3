"""Makes dedicated models, timed."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.quantize.dedicated.calibration import Calibration, calibrate
from benchmarks.quantize.dedicated.methods import CALIBRATED, METHODS, Tensor
from benchmarks.quantize.made import Made
from benchmarks.quantize.memory import watch_peak
from benchmarks.quantize.tasks.task import Task
from common.blob_codec import encode_arrays
from common.coding.values import encode_values
from server.quantize.affine import Affine


class DedicatedSource:
    """A ``common.graph.build.StateSource`` of quantized tensors, and the floats for the others."""

    def __init__(self, task: Task, tensors: dict[str, Affine]) -> None:
        self._floats = task.exported.states
        self._tensors = tensors

    def tensor(self, name: str) -> torch.Tensor:
        """A state by its name."""
        if name not in self._tensors:
            return self._floats[name]
        return torch.from_numpy(self._tensors[name].weights()).view(self._floats[name].shape)


class DedicatedMaker:
    """Makes one model's dedicated forms; calibrates it once, when a mode first needs it."""

    def __init__(self, task: Task) -> None:
        self._task = task
        self._calibration: Calibration | None = None

    def make(self, mode: str, level: int) -> Made:
        """The model at the level; a calibrated mode's figures include the calibration.

        Args:
            mode: One of ``METHODS``.
            level: Bits of a code.
        """
        calibration = self._calibrated() if mode in CALIBRATED else None
        peak, start = watch_peak(), time.perf_counter()
        tensors, wire_bytes = self._quantize(mode, level, calibration)
        seconds, peak_bytes = time.perf_counter() - start, peak.growth_bytes()
        if calibration:
            seconds += calibration.seconds
            peak_bytes = max(calibration.peak_bytes, peak_bytes + calibration.held_bytes)
        codes = {name: affine.codes for name, affine in tensors.items()}
        return Made(DedicatedSource(self._task, tensors), codes, wire_bytes, seconds, peak_bytes)

    def _quantize(
        self, mode: str, level: int, calibration: Calibration | None
    ) -> tuple[dict[str, Affine], int]:
        """Codes of every weight, and the bytes of all blobs: one per weight, and one for the floats."""
        states = self._task.exported.states
        tensors: dict[str, Affine] = {}
        wire_bytes = 0
        for name in self._task.quantized:
            curvature = calibration.curvatures.get(name) if calibration else None
            affine = METHODS[mode](Tensor(name, states[name], curvature), level)
            unsigned = affine.codes.view(np.uint8).reshape(-1) + np.uint8(1 << (level - 1))
            rows: dict[str, NDArray[Any]] = {"scale": affine.scale, "offset": affine.offset}
            wire_bytes += len(encode_values(unsigned, level)[1])
            wire_bytes += encode_arrays(rows, compress=True)[1].size_bytes
            tensors[name] = affine
        floats = {name: tensor.numpy() for name, tensor in states.items() if name not in tensors}
        return tensors, wire_bytes + encode_arrays(floats, compress=True)[1].size_bytes

    def _calibrated(self) -> Calibration:
        if self._calibration is None:
            exported = self._task.exported
            self._calibration = calibrate(exported.graph, exported, self._task.calibration)
        return self._calibration
