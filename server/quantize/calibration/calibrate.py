"""Calibration: the float model walks through the graph with the samples, and layer by layer is decided.

At each layer every part-bit level of its weight, from the highest down, since a level must stay near the one
above. What a layer sees is what the floats give it, whatever the layers before were rounded to: so its codes
suit it with every mix of levels that a device may run.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray

from common.errors import InvalidInputError
from common.graph.build import Run, StateSource, build
from common.graph.model import Graph
from common.graph.ops import place
from common.manifest import TensorPart
from server.quantize.affine import Affine
from server.quantize.calibration.curvature import Curvature, curvature
from server.quantize.calibration.decide import Place, decide, mean_error
from server.quantize.calibration.layers import Correction, Layer, columns_of, layers_of
from server.quantize.calibration.room import ROOM_BYTES, affordable
from server.quantize.calibration.state_rows import rows_of
from server.quantize.format import Format
from server.quantize.frozen import quantize_frozen
from server.quantize.held_version import HeldVersion
from server.quantize.rounding.calibrated import CARRY_BITS
from server.quantize.samples import Samples
from server.quantize.weights import check_finite, check_no_nan

Report = Callable[[str, int, int], None]
_PIECE_VALUES: Final = 1 << 24  # columns worked on at once


@dataclass(frozen=True, slots=True, eq=False)
class Calibrated:
    """What was decided.

    Attributes:
        affines: Tensor and level to codes, scale and offset; part-bit levels of its own alone.
        floats: Float state and level to its value there, where it takes a layer's mean error.
        samples: How many samples were used; fewer than given where memory would not do.
    """

    affines: Mapping[str, Mapping[int, Affine]] = field(default_factory=dict)
    floats: Mapping[str, Mapping[int, NDArray[Any]]] = field(default_factory=dict)
    samples: int = 0


def calibrate(
    graph: Graph,
    floats: StateSource,
    samples: Samples,
    formats: Mapping[str, Format],
    report: Report,
    *,
    held: HeldVersion | None = None,
    room_bytes: int = ROOM_BYTES,
) -> Calibrated:
    """Decisions for every tensor whose mode is calibrated.

    Args:
        graph: The computation.
        floats: The model's states.
        samples: Unlabelled inputs.
        formats: Of every tensor that becomes codes; all have the same last level.
        report: Told of progress under "calibrate".
        held: The version before, if its scales may be kept.
        room_bytes: What values of the walk may take; fewer samples are used where they would take more.

    Raises:
        InvalidInputError: A tensor is NaN or a weight infinite, or a layer sees such values of the samples.
        UnsupportedModelError: An operator cannot run.
    """
    wanted = {
        name for name, form in formats.items() if form.rounding.label == "calibrated" and len(form.levels) > 1
    }
    layers = {layer.node: layer for layer in layers_of(graph, wanted)}
    source = _Checked(floats, formats)
    samples = affordable(graph, source, samples, room_bytes)
    work = _Work(graph, source, samples, formats, layers, held=held)
    report("calibrate", 0, len(layers))
    for done, _ in enumerate(work.walk(), start=1):
        report("calibrate", done, len(layers))
    return Calibrated(work.affines, work.floats, samples.count)


class _Checked:
    """The model's states, as far as they are numbers: no sample is to blame for those that are not."""

    def __init__(self, floats: StateSource, formats: Mapping[str, Format]) -> None:
        self._floats = floats
        self._formats = formats

    def tensor(self, name: str) -> torch.Tensor:
        tensor = self._floats.tensor(name)
        if name in self._formats:
            check_finite(name, tensor)
        else:
            check_no_nan(name, tensor)
        return tensor


class _Work:
    """The walk, and what it has decided so far."""

    def __init__(
        self,
        graph: Graph,
        floats: StateSource,
        samples: Samples,
        formats: Mapping[str, Format],
        layers: Mapping[int, Layer],
        *,
        held: HeldVersion | None,
    ) -> None:
        self._graph = graph
        self._source = floats
        self._samples = tuple(torch.from_numpy(array) for array in samples.inputs)
        self._formats = formats
        self._layers = layers
        self._held = held
        self._newest: tuple[object, Curvature] | None = None
        self.affines: dict[str, dict[int, Affine]] = {}
        self.floats: dict[str, dict[int, NDArray[Any]]] = {}

    def walk(self) -> Iterator[Layer]:
        """Decide the layers; yields each when it is done."""
        run = build(self._graph).start(self._source, *self._samples)
        for index in range(len(self._graph.nodes)):
            if index in self._layers:
                with torch.inference_mode():
                    self._decide(self._layers[index], run)
                yield self._layers[index]
            with torch.inference_mode():
                run.advance()

    def _decide(self, layer: Layer, run: Run) -> None:
        own = self._source.tensor(layer.weight)
        if own.shape[0] % layer.groups:
            raise InvalidInputError(f"Tensor {layer.weight!r} has rows that its groups do not divide.")
        seen = self._curvature(layer, run, tuple(own.shape))
        rows, levels = rows_of(layer.weight, own), self._formats[layer.weight].levels
        weights = torch.from_numpy(rows.weights)
        whole = TensorPart(layer.weight, tuple(own.shape), 0, len(own))
        held = self._held.rows(whole) if self._held else None
        plain = above = quantize_frozen(rows.weights, levels[-1], held, name=rows.name)
        self.affines[layer.weight] = decided = {}
        for low, high in reversed(list(pairwise(levels))):
            place = Place(low, high, levels[-1], CARRY_BITS)
            above = decide(weights, seen, plain, above.codes, place, held=held)
            decided[low] = above
        if layer.correction:
            self._correct(layer.correction, {**decided, levels[-1]: plain}, seen, weights)

    def _correct(
        self, correction: Correction, decided: Mapping[int, Affine], seen: Curvature, weights: torch.Tensor
    ) -> None:
        """The layer's mean error goes into its bias, or its norm's mean."""
        value = self._source.tensor(correction.state)
        self.floats[correction.state] = corrected = {}
        for level, affine in decided.items():
            lacking = torch.from_numpy(mean_error(weights, torch.from_numpy(affine.weights()), seen))
            corrected[level] = (value + correction.sign * lacking.to(value.dtype)).to(torch.float32).numpy()

    def _curvature(self, layer: Layer, run: Run, shape: tuple[int, ...]) -> Curvature:
        """Layers that see the same value, as the three of an attention do, share it."""
        node = self._graph.nodes[layer.node]
        key = (layer.seen, layer.correction is not None, node.op, shape[1:], node.args[3:])
        if self._newest is None or self._newest[0] != key:
            self._newest = None  # the memory of the one before is free again
            pieces = (columns_of(node, piece, shape) for piece in _pieces(run.values[layer.seen.name], shape))
            found = curvature(pieces, centred=layer.correction is not None)
            if not bool(torch.isfinite(found.hessian).all()):
                raise InvalidInputError(
                    f"What {place(node.layer)} sees of the calibration samples is not finite, or too large.",
                    advice="Give samples that the model can answer.",
                )
            self._newest = (key, found)
        return self._newest[1]


def _pieces(value: torch.Tensor, shape: tuple[int, ...]) -> Iterator[torch.Tensor]:
    """The value along axis 0, the batch, in runs whose columns take bounded memory."""
    if value.dim() < len(shape):  # an operator takes a single sample without its axis, too
        value = value[None]
    kernel = int(np.prod(shape[2:], dtype=np.int64))
    length = max(1, _PIECE_VALUES // max(1, kernel * value[:1].numel()))
    for start in range(0, len(value), length):
        yield value[start : start + length].float()
