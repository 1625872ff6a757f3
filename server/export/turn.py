"""How a weight is stored so that each of its rows is one output channel, whatever the model keeps it as.

A transposed convolution has [inputs, outputs / groups, kernel], ``x @ w`` has [inputs, outputs], a stack of
experts [experts, inputs, outputs]. Such a weight is stored turned, and the graph turns it back with ordinary
operators of shape right before its reader.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch

from common.graph.layout import Layout, Run, contiguous, permuted, reshaped, size_of
from common.graph.model import Argument, Node
from common.graph.operands import Operand, operand
from common.graph.readings import readings


@dataclass(frozen=True, slots=True)
class Turn:
    """A way of storing a tensor with its axes, or parts of them, in another order.

    Attributes:
        shape: As the model has it.
        atoms: The same elements with axes cut where the order needs it.
        order: Of the atoms, as they are stored.
        stored: The shape that is stored.
    """

    shape: tuple[int, ...]
    atoms: tuple[int, ...]
    order: tuple[int, ...]
    stored: tuple[int, ...]

    def store(self, tensor: torch.Tensor) -> torch.Tensor:
        """The tensor as it is stored; may share memory with it."""
        return tensor.reshape(self.atoms).permute(self.order).reshape(self.stored)

    def back(self) -> Iterator[tuple[str, Argument]]:
        """The operators, with their second argument, that make the model's tensor of the stored one."""
        apart = tuple(self.atoms[atom] for atom in self.order)
        if apart != self.stored:
            yield "aten.reshape.default", apart
        if self.order != tuple(sorted(self.order)):
            yield "aten.permute.default", tuple(self.order.index(atom) for atom in range(len(self.order)))
        if self.atoms != self.shape:
            yield "aten.reshape.default", self.shape

    def layout(self) -> Layout:
        """The model's tensor as a view of the stored one."""
        apart = reshaped(contiguous(self.stored), [self.atoms[atom] for atom in self.order])
        turned = apart and permuted(apart, [self.order.index(atom) for atom in range(len(self.order))])
        whole = turned and reshaped(turned, self.shape)
        if whole is None:
            raise ValueError(f"{self} is no turn.")
        return whole


def find_turn(name: str, shape: tuple[int, ...], nodes: Sequence[Node]) -> Turn | None:
    """The turn under which all readings of a state find their output channels on axis 0.

    Args:
        name: Of the state.
        shape: As the model has it.
        nodes: All that the state or a view of it goes through.

    Returns:
        None where the state is stored well as it is, is no weight, or no turn suits all readings.
    """
    operands = _operands(name, nodes, contiguous(shape))
    if len(shape) < 2 or 0 in shape or operands is None or _suits(shape, operands):  # noqa: PLR2004
        return None
    for turn in _candidates(shape, operands[0][0]):
        turned = _operands(name, nodes, turn.layout())
        if turned and _suits(turn.stored, turned):
            return turn
    return None


def _operands(name: str, nodes: Sequence[Node], layout: Layout) -> list[tuple[Operand, int]] | None:
    """The readings of a state as operands and where they start; None where one is none, or there are none."""
    found: list[tuple[Operand, int]] = []
    for item in readings(nodes, (), {name: layout})[name]:
        weight = operand(nodes[item.node], item.position, item.layout) if item.layout else None
        if weight is None or item.layout is None:
            return None
        found.append((weight, item.layout.start))
    return found or None


def _suits(shape: tuple[int, ...], operands: Sequence[tuple[Operand, int]]) -> bool:
    """Each row is of one output channel; and axes beyond the inputs are those of a kernel."""
    flat = len(shape) == 2 or all(item.kind == "convolution" for item, _ in operands)  # noqa: PLR2004
    return flat and all(item.is_by_rows(shape, start) for item, start in operands)


def _candidates(shape: tuple[int, ...], first: Operand) -> Iterator[Turn]:
    """Turns that would suit an operand: one for all of a state, one for a part of it, as of a stack."""
    rows = [run for axis in first.rows for run in axis]
    runs = [*rows, *(run for axis in first.columns for run in axis)]
    atoms = sorted(runs, key=lambda run: -run[1])
    if _cover(atoms, math.prod(shape)):
        order = tuple(atoms.index(run) for run in runs)
        yield Turn(shape, tuple(size for size, _ in atoms), order, first.stored_shape)
    columns = [axis for axis in range(len(shape)) if _reaches(runs[len(rows) :], shape, axis)]
    others = [axis for axis in range(len(shape)) if axis not in columns]
    sizes = tuple(shape[axis] for axis in columns)
    flat = sizes if first.kind == "convolution" else (math.prod(sizes),)
    yield Turn(shape, shape, (*others, *columns), (math.prod(shape[axis] for axis in others), *flat))


def _reaches(runs: Sequence[Run], shape: tuple[int, ...], axis: int) -> bool:
    """Whether stepping through the runs means stepping along an axis of the state."""
    stride = math.prod(shape[axis + 1 :])
    return any(stride < step * size and step < stride * shape[axis] for size, step in runs)


def _cover(atoms: Sequence[Run], count: int) -> bool:
    """Whether runs, outermost first, are all elements of a tensor, each once."""
    stride = count
    for size, at in atoms:
        if at * size != stride:
            return False
        stride = at
    return stride == 1 and size_of(tuple(atoms)) == count
