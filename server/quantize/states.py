"""The model's tensors as the plan and the blobs want them: in order of use, checked against the weights."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from common.errors import InvalidInputError
from common.graph.model import Graph
from common.graph.uses import quantizable_states, weight_uses
from common.manifest import TensorPart
from server.quantize.affine import Affine
from server.quantize.block_coder import BlockValues
from server.quantize.calibration import Calibrated
from server.quantize.held_version import HeldVersion
from server.quantize.plan import BlockPlan, State
from server.quantize.weights import WeightsFile, check_no_nan


def states_in_order(graph: Graph, weights: WeightsFile) -> tuple[State, ...]:
    """Every state of the graph, by its first use; a shared one once, unused ones last.

    Raises:
        InvalidInputError: The weights file lacks a state, or has it in another type or shape.
    """
    uses = weight_uses(graph)
    quantized = set(quantizable_states(graph))
    after_all = len(graph.nodes)
    first = {
        name: min((use.node for use in found if use.node >= 0), default=after_all)
        for name, found in uses.items()
    }
    states = []
    for state in sorted(graph.states, key=lambda state: first[state.name]):
        dtype, shape = weights.describe(state.name)
        if (dtype, shape) != (getattr(torch, state.dtype), state.shape):
            raise InvalidInputError(
                f"Tensor {state.name!r} is {dtype} {list(shape)} in the weights file, "
                f"and torch.{state.dtype} {list(state.shape)} in the graph."
            )
        size_bytes = math.prod(shape) * _stored_dtype(dtype).itemsize
        states.append(State(state.name, shape, size_bytes, state.name in quantized))
    return tuple(states)


def load_block(
    block: BlockPlan,
    weights: WeightsFile,
    calibrated: Calibrated,
    levels: tuple[int, ...],
    held: HeldVersion | None = None,
    *,
    means: Mapping[str, NDArray[np.float64]] | None = None,
) -> BlockValues:
    """A block's values in memory.

    Args:
        block: What it shall hold.
        weights: The floats.
        calibrated: What was decided for its tensors, and floats of levels.
        levels: The block's own levels.
        held: The version before, if its scales may be kept.
        means: What tensors' columns are multiplied with on average, where that is known.

    Raises:
        InvalidInputError: A tensor that stays float holds NaN.
    """
    return BlockValues(
        tensors={part: _rows(weights, part) for part in block.tensors},
        floats={name: _whole(weights, name) for name in block.floats},
        level_floats={
            name: _at_levels(_whole(weights, name), calibrated.floats.get(name, {}), levels)
            for name in block.level_floats
        },
        decided={
            part: tuple(_some_rows(calibrated.affines[part.name][level], part) for level in levels[:-1])
            for part in block.tensors
            if part.name in calibrated.affines
        },
        held={part: rows for part in block.tensors if held and (rows := held.rows(part)) is not None},
        means={part.name: means[part.name] for part in block.tensors if means and part.name in means},
    )


def _at_levels(
    own: NDArray[Any], decided: Mapping[int, NDArray[Any]], levels: Sequence[int]
) -> tuple[NDArray[Any], ...]:
    """The value at each level, in the type that the floats have; the float model's own without."""
    return tuple(decided.get(level, own).astype(own.dtype) for level in levels)


def _some_rows(affine: Affine, part: TensorPart) -> Affine:
    rows = slice(part.start, part.stop)
    return Affine(affine.codes[rows], affine.scale[rows], affine.offset[rows])


def _rows(weights: WeightsFile, part: TensorPart) -> NDArray[np.float32]:
    rows = weights.rows(part.name, part.start, part.stop).to(torch.float32)
    values: NDArray[np.float32] = rows.reshape(part.rows, -1).numpy()
    return values


def _whole(weights: WeightsFile, name: str) -> NDArray[Any]:
    tensor = weights.whole(name)
    check_no_nan(name, tensor)
    values: NDArray[Any] = tensor.to(_stored_dtype(tensor.dtype)).numpy()
    return values


def _stored_dtype(dtype: torch.dtype) -> torch.dtype:
    """numpy, and so the blobs, know no bfloat16; whoever runs the graph casts back, without loss."""
    return torch.float32 if dtype == torch.bfloat16 else dtype
