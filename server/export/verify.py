"""Proof that a graph answers as the model does, also at batch sizes that it was not exported with."""

from __future__ import annotations

from typing import Any, Final

import torch
from torch import nn

from common.errors import InvalidInputError, UnsupportedModelError
from common.graph.build import Runner, build
from server.export.examples import Examples
from server.export.exported import Exported
from server.export.outputs import flatten
from server.export.trace import call

# Of the norm; kernels round differently at another batch size.
TOLERANCE: Final = 1e-3
_HALF_TOLERANCE: Final = 5e-2
_DISCRETE_TOLERANCE: Final = 0.1  # share of indices and flags: an argmax may tip over at a tie


def verify(model: nn.Module, exported: Exported, examples: Examples) -> None:
    """Accept a graph that agrees with the model at the examples' batch size, at one more, and at one.

    A batch of one is left out where the model itself fails at it.

    Raises:
        UnsupportedModelError: It answers otherwise; names output and batch size. Or the model has one only.
    """
    runner = build(exported.graph)
    for batch in dict.fromkeys((examples.batch, examples.batch + 1, 1)):
        resized = examples.resized(batch)
        try:
            expected = call(model, resized)
        except InvalidInputError as error:
            if batch == 1 != examples.batch:
                continue
            raise UnsupportedModelError(
                f"The model answers at batch size {examples.batch}, but not at {batch}: {error.message}",
                advice="Use x.shape[0] or -1 in forward where a batch size is written as a number.",
            ) from error
        _compare(runner, exported, resized, expected)


def _compare(runner: Runner, exported: Exported, examples: Examples, expected: Any) -> None:
    actual = runner(exported, *examples.tensors)
    wanted = [leaf for _, leaf in flatten(expected)]
    for output, seen, leaf in zip(exported.graph.outputs, actual, wanted, strict=True):
        error, tolerance = _error(seen, leaf), _tolerance(exported, seen)
        if not error <= tolerance:
            raise UnsupportedModelError(
                f"The exported graph answers otherwise than the model: output {output.name!r} is off by"
                f" {error:.2g} of its norm at batch size {examples.batch}, {tolerance:g} is allowed.",
                advice="Take randomness and branches on sizes or values out of the model's forward.",
            )


def _tolerance(exported: Exported, seen: torch.Tensor) -> float:
    if not seen.is_floating_point():
        return _DISCRETE_TOLERANCE
    halves = {"float16", "bfloat16"} & {state.dtype for state in exported.graph.states}
    return _HALF_TOLERANCE if halves else TOLERANCE


def _error(seen: torch.Tensor, wanted: torch.Tensor) -> float:
    if seen.numel() != wanted.numel():
        return float("inf")
    first, second = seen.reshape(-1).double(), wanted.detach().cpu().reshape(-1).double()
    same = first.eq(second) | (first.isnan() & second.isnan())
    if not seen.is_floating_point():
        return 1.0 - float(same.double().mean())
    difference = torch.where(same, 0.0, first - second)
    norm = float(torch.nan_to_num(second, 0.0, 0.0, 0.0).norm())
    return float(difference.norm()) / max(norm, 1e-6)
