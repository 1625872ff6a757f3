"""What layers see on average, told by the model's own constants alone: no sample is needed.

Behind a layer norm a feature has the norm's shift for its mean and its gain for its deviation. A linear layer
adds such features up to something near a normal distribution, and an activation bends that: what comes out is
no longer zero on average, and the layer behind it feels the mean of its weights' errors far more than their
spread. With those means a fit minds both (``refit``).

Behind batch norms it was measured to change nothing (docs/adr/0002): there the means are much the same in all
columns, and a fitted offset takes them out by itself.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray

from common.graph.build import StateSource, call_step, make_step
from common.graph.model import Graph, Node, StateRef, ValueRef
from common.graph.plan import Lifetimes
from server.quantize.row_chunks import row_chunks

_LINEAR: Final = "aten.linear.default"
_NORM: Final = "aten.layer_norm.default"
_ACTIVATIONS: Final = frozenset(
    f"aten.{name}.default" for name in ("gelu", "silu", "relu", "mish", "hardswish", "elu", "leaky_relu")
)
_WEIGHT, _BIAS = 1, 2
_GAIN, _SHIFT = 2, 3
_POINTS: Final = 32  # of the quadrature; exact for polynomials of degree 63
_MOST: Final = 100.0  # beyond it columns hardly move, and a fit would be for that one input
_DIGITS: Final = 3  # more would differ between processors
_ENDS: Final = Lifetimes((), frozenset(), ())

Floats = NDArray[np.float64]


def column_means(graph: Graph, floats: StateSource, weights: Collection[str]) -> dict[str, Floats]:
    """The mean of each column that these weights are applied to, where the graph tells it.

    Args:
        graph: The computation.
        floats: Its states.
        weights: Names of those that become codes.

    Returns:
        Weight to float64 [columns], in units of the columns' mean deviation.
    """
    makers = {node.name: node for node in graph.nodes}
    shapes = {state.name: state.shape for state in graph.states}
    found: dict[str, Floats] = {}
    for node in graph.nodes:
        weight = _state(node, _WEIGHT) if node.op == _LINEAR else None
        if weight is None or weight not in weights or weight in found:
            continue
        with np.errstate(all="ignore"):
            means = _seen(node, makers, floats)
        if means is not None and shapes[weight][1:] == means.shape:
            found[weight] = means
    return found


def _seen(linear: Node, makers: Mapping[str, Node], floats: StateSource) -> Floats | None:
    """What a linear layer sees; None where the graph does not tell it."""
    norm = _maker(linear, makers, {_NORM})
    if norm is not None:
        features = _features(norm, floats)
        return None if features is None else _in_deviations(features.mean, float(features.variance.mean()))
    activation = _maker(linear, makers, _ACTIVATIONS)
    before = activation and _maker(activation, makers, {_LINEAR})
    norm = before and _maker(before, makers, {_NORM})
    if activation is None or before is None or norm is None or len(activation.args) != 1:
        return None
    features = _features(norm, floats)
    return None if features is None else _means(activation, before, features, floats)


@dataclass(frozen=True, slots=True, eq=False)
class _Features:
    """Mean and variance of each, float64."""

    mean: Floats
    variance: Floats


def _features(norm: Node, floats: StateSource) -> _Features | None:
    """What comes out of a norm over one axis that has a gain and a shift."""
    gain, shift = _state(norm, _GAIN), _state(norm, _SHIFT)
    if gain is None or shift is None:
        return None
    gains, shifts = _array(floats, gain).astype(np.float64), _array(floats, shift).astype(np.float64)
    return _Features(shifts, np.square(gains)) if gains.ndim == 1 and gains.shape == shifts.shape else None


def _means(activation: Node, linear: Node, features: _Features, floats: StateSource) -> Floats | None:
    """Of an activation's results, behind a linear layer; None where they cannot be known."""
    weight, bias = _state(linear, _WEIGHT), _state(linear, _BIAS)
    if bias is None and any(argument is not None for argument in linear.args[_BIAS:]):
        return None  # one that is computed
    rows = None if weight is None else _array(floats, weight)
    added = None if bias is None else _array(floats, bias)
    if rows is None or rows.shape[1:] != features.mean.shape:
        return None
    if added is not None and added.shape != rows.shape[:1]:
        return None
    sums = _through(rows, features)
    centre = sums.mean if added is None else sums.mean + added
    points, shares = np.polynomial.hermite_e.hermegauss(_POINTS)
    shares /= shares.sum()
    bent = _applied(activation, centre[:, None] + np.sqrt(sums.variance)[:, None] * points)
    mean: Floats = (bent * shares).sum(axis=1)
    spread = (np.square(bent - mean[:, None]) * shares).sum(axis=1)
    return _in_deviations(mean, float(spread.mean()))


def _in_deviations(mean: Floats, variance: float) -> Floats | None:
    if not np.isfinite(mean).all() or not 0 < variance < np.inf:
        return None
    means: Floats = np.round(mean / np.sqrt(variance), _DIGITS)
    return means if np.abs(means).max(initial=0) <= _MOST else None


def _through(weight: NDArray[np.float32], features: _Features) -> _Features:
    """Each row's sum over features that know nothing of each other.

    Added up without BLAS, as in ``refit``: its results depend on the processor.
    """
    sums = _Features(np.empty(len(weight)), np.empty(len(weight)))
    for rows in row_chunks(weight.shape):
        wide = weight[rows].astype(np.float64)
        sums.mean[rows] = (wide * features.mean).sum(axis=1)
        sums.variance[rows] = (np.square(wide, out=wide) * features.variance).sum(axis=1)
    return sums


def _applied(activation: Node, values: Floats) -> Floats:
    step = make_step(activation, _ENDS)
    bent: torch.Tensor = call_step(step, [torch.from_numpy(values)], dict(step.kwargs))
    found: Floats = bent.numpy()
    return found


def _array(floats: StateSource, name: str) -> NDArray[np.float32]:
    array: NDArray[np.float32] = floats.tensor(name).to(torch.float32).numpy()
    return array


def _state(node: Node, position: int) -> str | None:
    argument = node.args[position] if len(node.args) > position else None
    return argument.name if isinstance(argument, StateRef) else None


def _maker(node: Node, makers: Mapping[str, Node], operators: Collection[str]) -> Node | None:
    """What makes a node's first argument, if it is one of these operators."""
    first = node.args[0] if node.args else None
    maker = makers.get(first.name) if isinstance(first, ValueRef) else None
    return maker if maker is not None and maker.op in operators else None
