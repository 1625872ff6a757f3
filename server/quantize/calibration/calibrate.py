"""Calibration: floats and each part-bit level walk through the graph side by side, and layers are decided.

From the highest part-bit level down, since a level must stay near the one above. At each layer the two walks
say what the layer should answer to and what it will: its weight is decided, and the walk goes on with it, so
that later layers see, and make up for, what the earlier ones do wrong.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray

from common.errors import InvalidInputError
from common.graph.build import Run, StateSource, build
from common.graph.model import Graph
from common.graph.ops import place
from server.quantize.affine import Affine, quantize_rows
from server.quantize.calibration.curvature import Curvature, curvature
from server.quantize.calibration.decide import Place, decide, mean_error
from server.quantize.calibration.layers import Layer, columns_of, layers_of
from server.quantize.calibration.level_states import LevelStates, rows_of
from server.quantize.calibration.room import ROOM_BYTES, affordable
from server.quantize.format import Format
from server.quantize.rounding.calibrated import CARRY_BITS
from server.quantize.samples import Samples
from server.quantize.weights import check_no_nan

Report = Callable[[str, int, int], None]
_PIECE_VALUES: Final = 1 << 24  # columns worked on at once


@dataclass(frozen=True, slots=True, eq=False)
class Calibrated:
    """What was decided.

    Attributes:
        affines: Tensor and level to codes, scale and offset; part-bit levels of its own alone.
        floats: Float state and version level to its value there, where it takes a layer's mean error.
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
    room_bytes: int = ROOM_BYTES,
) -> Calibrated:
    """Decisions for every tensor whose mode is calibrated.

    Args:
        graph: The computation.
        floats: The model's states.
        samples: Unlabelled inputs.
        formats: Of every tensor that becomes codes; all have the same last level.
        report: Told of progress under "calibrate".
        room_bytes: What values of both walks may take; fewer samples are used where they would take more.

    Raises:
        InvalidInputError: A tensor is NaN or a weight infinite, or a layer sees such values of the samples.
        UnsupportedModelError: An operator cannot run.
    """
    wanted = {name for name, form in formats.items() if form.rounding.label == "calibrated"}
    layers = {layer.node: layer for layer in layers_of(graph, wanted)}
    part_bit = sorted({level for form in formats.values() for level in form.levels[:-1]}, reverse=True)
    samples = affordable(graph, floats, samples, room_bytes)
    work = _Work(graph, floats, samples, formats, layers)
    total = len(layers) * len(part_bit)
    report("calibrate", 0, total)
    for index, level in enumerate(part_bit):
        for done, _ in enumerate(work.walk(level), start=1):
            report("calibrate", index * len(layers) + done, total)
    return Calibrated(work.affines, work.floats, samples.count)


class _Work:
    """The walks, and what they have decided so far."""

    def __init__(
        self,
        graph: Graph,
        floats: StateSource,
        samples: Samples,
        formats: Mapping[str, Format],
        layers: Mapping[int, Layer],
    ) -> None:
        self._graph = graph
        self._source = floats
        self._samples = tuple(torch.from_numpy(array) for array in samples.inputs)
        self._formats = formats
        self._layers = layers
        self._runner = build(graph)
        self._newest: tuple[object, Curvature] | None = None
        self.affines: dict[str, dict[int, Affine]] = defaultdict(dict)
        self.floats: dict[str, dict[int, NDArray[Any]]] = defaultdict(dict)

    def walk(self, level: int) -> Iterator[Layer]:
        """Decide a level; yields each layer when it is done."""
        states = LevelStates(self._source, self._formats, level)
        # A tensor that begins above this level runs at its base: what was decided there holds here too.
        states.affines |= {
            name: decided[form.at(level)]
            for name, form in self._formats.items()
            if (decided := self.affines.get(name)) and form.at(level) in decided
        }
        straight = self._runner.start(self._source, *self._samples)
        nested = self._runner.start(states, *self._samples)
        self._newest = None
        for index in range(len(self._graph.nodes)):
            if index in self._layers:
                layer = self._layers[index]
                with torch.inference_mode():
                    self._decide(layer, states, straight, nested)
                yield layer
            with torch.inference_mode():
                straight.advance()
                nested.advance()

    def _decide(self, layer: Layer, states: LevelStates, straight: Run, nested: Run) -> None:
        form = self._formats[layer.weight]
        level = form.at(states.level)
        own = self._source.tensor(layer.weight)
        if own.shape[0] % layer.groups:
            raise InvalidInputError(f"Tensor {layer.weight!r} has rows that its groups do not divide.")
        seen = self._curvature(layer, straight, nested, tuple(own.shape))
        rows = rows_of(layer.weight, own)
        if level not in self.affines[layer.weight] and level != form.levels[-1]:
            place_ = Place(level, form.levels[form.levels.index(level) + 1], form.levels[-1], CARRY_BITS)
            plain = quantize_rows(rows.weights, place_.full, name=rows.name)
            above = self.affines[layer.weight].get(place_.above, plain).codes
            affine = decide(torch.from_numpy(rows.weights), seen, plain, above, place_)
            states.affines[layer.weight] = self.affines[layer.weight][level] = affine
        if layer.correction:
            self._correct(layer, states, seen, torch.from_numpy(rows.weights))

    def _correct(self, layer: Layer, states: LevelStates, seen: Curvature, weights: torch.Tensor) -> None:
        """The layer's mean error goes into its bias, or its norm's mean."""
        assert layer.correction is not None  # noqa: S101 - as the caller has checked
        name, sign = layer.correction.state, layer.correction.sign
        level = self._formats[layer.weight].at(states.level)
        if level != states.level:  # what holds at the tensor's base holds here
            states.corrected |= {name: self.floats[name][level]} if level in self.floats[name] else {}
            return
        quantized = states.tensor(layer.weight).reshape(weights.shape)
        value = self._source.tensor(name)
        check_no_nan(name, value)
        lacking = torch.from_numpy(mean_error(weights, quantized, seen)).to(value.dtype)
        corrected: NDArray[Any] = (value + sign * lacking).to(torch.float32).numpy()
        states.corrected[name] = corrected
        self.floats[name][states.level] = corrected

    def _curvature(self, layer: Layer, straight: Run, nested: Run, shape: tuple[int, ...]) -> Curvature:
        """Layers that see the same value, as the three of an attention do, share it."""
        node = self._graph.nodes[layer.node]
        key = (layer.seen, layer.correction is not None, node.op, shape[1:], node.args[3:])
        if self._newest is None or self._newest[0] != key:
            self._newest = None  # the memory of the one before is free again
            values = (straight.values[layer.seen.name], nested.values[layer.seen.name])
            pairs = (
                (columns_of(node, one, shape), columns_of(node, two, shape))
                for one, two in _pieces(*values, shape)
            )
            found = curvature(pairs, centred=layer.correction is not None)
            if not all(bool(torch.isfinite(array).all()) for array in (found.hessian, found.drift)):
                raise InvalidInputError(
                    f"What {place(node.layer)} sees of the calibration samples is not finite, or too large.",
                    advice="Give samples that the model can answer.",
                )
            self._newest = (key, found)
        return self._newest[1]


def _pieces(
    one: torch.Tensor, two: torch.Tensor, shape: tuple[int, ...]
) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Both values along axis 0, the batch, in runs whose columns take bounded memory."""
    if one.dim() < len(shape):  # an operator takes a single sample without its axis, too
        one, two = one[None], two[None]
    kernel = int(np.prod(shape[2:], dtype=np.int64))
    length = max(1, _PIECE_VALUES // max(1, kernel * one[:1].numel()))
    for start in range(0, len(one), length):
        yield one[start : start + length].float(), two[start : start + length].float()
