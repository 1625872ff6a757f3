"""The tensors of a program: each stored once, under one name, and fit to be sent."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch.export import ExportedProgram
from torch.export.graph_signature import InputKind

from common.errors import InvalidInputError, UnsupportedModelError
from common.graph.model import DTYPES, State
from server.export.trace import model_path
from server.export.turn import Turn

_KINDS = (InputKind.PARAMETER, InputKind.BUFFER, InputKind.CONSTANT_TENSOR)


@dataclass(frozen=True, slots=True, eq=False)
class FoundState:
    """A tensor of the program.

    Attributes:
        placeholder: Its name in the program's graph.
        name: Its name here; the same for all places that share one tensor.
        tensor: The model's own tensor.
        kind: Parameter, buffer or constant.
    """

    placeholder: str
    name: str
    tensor: torch.Tensor
    kind: InputKind

    @property
    def shape(self) -> tuple[int, ...]:
        """Sizes of its axes."""
        return tuple(self.tensor.shape)

    @property
    def is_weight(self) -> bool:
        """Whether it is a float that the model owns, not one that stands in its code."""
        return self.kind != InputKind.CONSTANT_TENSOR and self.tensor.is_floating_point()


def find_states(program: ExportedProgram) -> Iterator[FoundState]:
    """Parameters, buffers and constants, in the order of the program's placeholders.

    Raises:
        UnsupportedModelError: The program reads an object that is no tensor.
    """
    first_names: dict[object, str] = {}
    for spec in program.graph_signature.input_specs:
        if spec.kind == InputKind.USER_INPUT:
            continue
        target = spec.target or ""
        tensor = program.state_dict.get(target, program.constants.get(target))
        if spec.kind not in _KINDS or not isinstance(tensor, torch.Tensor):
            raise UnsupportedModelError(f"The model reads {model_path(target)!r}, which is no tensor.")
        name = first_names.setdefault(_identity(tensor), model_path(target))
        yield FoundState(spec.arg.name, name, tensor, spec.kind)


def snapshot(found: FoundState, turn: Turn | None = None) -> tuple[State, torch.Tensor]:
    """A state and a copy of its tensor on the CPU, contiguous, turned as it is to be stored.

    Raises:
        InvalidInputError: It has no values, or holds NaN or infinity.
        UnsupportedModelError: Its dtype cannot be sent.
    """
    dtype = str(found.tensor.dtype).removeprefix("torch.")
    if dtype not in DTYPES or found.tensor.layout != torch.strided:
        raise UnsupportedModelError(f"Tensor {found.name!r} is {dtype}; tensors are one of {sorted(DTYPES)}.")
    if found.tensor.is_meta:
        raise InvalidInputError(f"Tensor {found.name!r} has no values (it is on the meta device).")
    tensor = found.tensor.detach().cpu()
    tensor = (turn.store(tensor) if turn else tensor).clone(memory_format=torch.contiguous_format)
    _check_values(found, tensor)
    return State(found.name, dtype, tuple(tensor.shape)), tensor


def _check_values(found: FoundState, tensor: torch.Tensor) -> None:
    if not tensor.is_floating_point():
        return
    # Minus infinity in a buffer is an attention mask.
    bad = (
        ~torch.isfinite(tensor)
        if found.kind == InputKind.PARAMETER
        else torch.isnan(tensor) | torch.isposinf(tensor)
    )
    count = int(bad.sum())
    if count:
        raise InvalidInputError(
            f"Tensor {found.name!r} holds {count} values that are NaN or infinite.",
            advice="Train the model again, or push an earlier checkpoint.",
        )


def _identity(tensor: torch.Tensor) -> object:
    if tensor.is_meta or tensor.numel() == 0:
        return id(tensor)
    return tensor.data_ptr(), tuple(tensor.shape), tensor.stride(), tensor.dtype
