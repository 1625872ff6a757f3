"""Which levels each tensor has, and which mode rounds it: what the order asks for, tensor by tensor."""

from __future__ import annotations

import fnmatch
from collections.abc import Callable, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import replace
from typing import Final

import numpy as np

from common.errors import InvalidInputError
from common.graph.build import StateSource
from common.graph.model import Graph
from server.quantize.calibration.layers import layers_of
from server.quantize.calibration.state_rows import rows_of
from server.quantize.format import Format
from server.quantize.order import Order
from server.quantize.plan import State
from server.quantize.rounding import Rounding, Rows, rounding
from server.quantize.rounding.adaptive import Adaptive
from server.quantize.rounding.calibrated import Calibrated
from server.quantize.rounding.floor import Floor

_SHOWN: Final = 5


def with_formats(
    graph: Graph, states: Sequence[State], order: Order, floats: StateSource, *, calibrated: bool
) -> tuple[State, ...]:
    """The states, those that become codes with the form that the order gives them.

    In order of use, but for what takes a layer's mean error: that comes right behind the layer's weight.

    Args:
        graph: The computation.
        states: In order of use.
        order: What was asked for.
        floats: The float weights; only read where modes are compared.
        calibrated: Whether there are calibration samples.

    Raises:
        InvalidInputError: A pin names no tensor that becomes codes, or there is no such mode.
    """
    names = [state.name for state in states if state.quantized]
    own_levels = {name: _own_levels(name, names, order) for name in names}
    _check_pins(names, order)
    layers = tuple(layers_of(graph, names)) if calibrated else ()
    mode_of = _modes({layer.weight for layer in layers}, order)
    corrections = {
        layer.weight: layer.correction.state
        for layer in layers
        if layer.correction
        and mode_of(layer.weight).label == "calibrated"
        and len(own_levels[layer.weight]) > 1
    }
    followers = {state.name: state for state in states if state.name in corrections.values()}

    def formed(state: State) -> State:
        if not state.quantized:
            return replace(state, by_level=state.name in followers)
        levels, mode = own_levels[state.name], mode_of(state.name)
        if order.rounding == "auto" and mode.label != "calibrated" and len(levels) > 1:
            mode = best_data_free(rows_of(state.name, floats.tensor(state.name)), levels)
        return replace(state, form=Format(levels, mode if len(levels) > 1 else _at_one_level(mode)))

    # What follows a weight's levels must come into its block, so it stands behind it whatever uses it first.
    follows = {weight: followers[name] for weight, name in corrections.items()}
    return tuple(
        formed(item)
        for state in states
        if state.name not in followers
        for item in (state, *([follows[state.name]] if state.name in follows else []))
    )


def best_data_free(rows: Rows, levels: tuple[int, ...]) -> Rounding:
    """The mode without samples whose part-bit levels come nearest to the weights; of equals the smaller.

    Args:
        rows: A tensor.
        levels: Its levels, at least two.
    """
    modes: tuple[Rounding, ...] = (Floor(), Adaptive(refit=True))
    return min(modes, key=lambda mode: _weight_error(mode, rows, levels))


def _weight_error(mode: Rounding, rows: Rows, levels: tuple[int, ...]) -> float:
    """Energy of the weights' error relative to that of the full-bit step, summed over part-bit levels."""
    found = mode(rows, levels).levels[:-1]
    return sum(
        float(np.square(affine.weights() - rows.weights, dtype=np.float64).sum())
        * 4.0 ** (level - levels[-1])
        for level, affine in zip(levels, found, strict=False)
    )


def _modes(decidable: AbstractSet[str], order: Order) -> Callable[[str], Rounding]:
    """The mode of each tensor; where samples say nothing of a tensor that they should decide, floor."""
    mode = rounding(order.rounding, refit=order.refit)
    if not isinstance(mode, Calibrated):
        return lambda _: mode
    return lambda name: mode if name in decidable else Floor()


def _at_one_level(mode: Rounding) -> Rounding:
    """At full-bit alone there is nothing to decide; adaptive has flips there too."""
    return Floor() if isinstance(mode, Calibrated) else mode


def _own_levels(name: str, names: Sequence[str], order: Order) -> tuple[int, ...]:
    base = order.levels[0]
    if order.first_last and name in (names[0], names[-1]):
        base = order.first_last
    for pin in order.pins:
        if fnmatch.fnmatchcase(name, pin.pattern):
            base = pin.level
    return order.levels[order.levels.index(base) :]


def _check_pins(names: Sequence[str], order: Order) -> None:
    for pin in order.pins:
        if not any(fnmatch.fnmatchcase(name, pin.pattern) for name in names):
            shown = ", ".join(names[:_SHOWN]) + (", …" if len(names) > _SHOWN else "")
            raise InvalidInputError(
                f"Pin {pin.pattern[:80]!r} matches no tensor that becomes codes.",
                advice=f"There are: {shown}. `nestfleet inspect NAME --blocks` lists those of a version."
                if names
                else "The model has none.",
            )
