"""Example inputs, whatever form the caller gives them in."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import torch
from torch import nn

from common.errors import InvalidInputError

# What a request can carry.
INPUT_DTYPES: Final = frozenset(
    {"bool", "uint8", "int8", "int16", "int32", "int64", "float16", "float32", "float64"}
)


@dataclass(frozen=True, slots=True, eq=False)
class Examples:
    """One call of the model.

    Attributes:
        names: What the graph calls its inputs; equally many as there are tensors.
        tensors: On the CPU, axis 0 the batch, of equal size in all.
        keywords: How many of them, counted from the end, are passed by name.
    """

    names: tuple[str, ...]
    tensors: tuple[torch.Tensor, ...]
    keywords: int

    @property
    def batch(self) -> int:
        """Size of axis 0."""
        return len(self.tensors[0])

    @property
    def args(self) -> tuple[torch.Tensor, ...]:
        """Those that are passed by position."""
        return self.tensors[: len(self.tensors) - self.keywords]

    @property
    def kwargs(self) -> dict[str, torch.Tensor]:
        """Those that are passed by name."""
        start = len(self.args)
        return dict(zip(self.names[start:], self.tensors[start:], strict=True))

    def resized(self, batch: int) -> Examples:
        """The same call with another batch size: rows repeated in turn, every tensor a new one."""
        rows = torch.arange(batch) % self.batch
        return Examples(self.names, tuple(tensor[rows] for tensor in self.tensors), self.keywords)


def read_examples(
    model: nn.Module,
    given: torch.Tensor | Sequence[torch.Tensor] | Mapping[str, torch.Tensor],
) -> Examples:
    """Examples from a tensor, a sequence for positions, or a mapping for keywords.

    Raises:
        InvalidInputError: They are none, no tensors, or do not share a batch axis.
    """
    if isinstance(given, Mapping):
        names, values = tuple(given), tuple(given.values())
    else:
        values = (given,) if isinstance(given, torch.Tensor) else tuple(given)
        names = _position_names(model, len(values))
    if not values:
        raise InvalidInputError("The model needs at least one example input.")
    for name, value in zip(names, values, strict=True):
        _check(name, value)
    sizes = {name: len(value) for name, value in zip(names, values, strict=True)}
    if len(set(sizes.values())) > 1:
        raise InvalidInputError(
            f"The example inputs' batch sizes (axis 0) differ: {sizes}.",
            advice="Give all inputs equally many samples; make what has no batch a buffer of the model.",
        )
    tensors = tuple(value.detach().cpu().clone() for value in values)
    return Examples(names, tensors, len(values) if isinstance(given, Mapping) else 0)


def _check(name: str, value: object) -> None:
    if not isinstance(value, torch.Tensor):
        raise InvalidInputError(
            f"Example input {name!r} is a {type(value).__name__}, no tensor.",
            advice="Wrap the model in a module whose forward takes tensors alone.",
        )
    dtype = str(value.dtype).removeprefix("torch.")
    if dtype not in INPUT_DTYPES:
        raise InvalidInputError(f"Example input {name!r} is {dtype}; inputs are {sorted(INPUT_DTYPES)}.")
    if value.ndim == 0 or value.numel() == 0:
        raise InvalidInputError(f"Example input {name!r} has no sample: axis 0 is the batch.")


def _position_names(model: nn.Module, count: int) -> tuple[str, ...]:
    names: list[str] = []
    for parameter in inspect.signature(model.forward).parameters.values():
        if parameter.kind == parameter.VAR_POSITIONAL:
            names += [f"{parameter.name}_{index}" for index in range(count - len(names))]
        elif parameter.kind in (parameter.POSITIONAL_ONLY, parameter.POSITIONAL_OR_KEYWORD):
            names.append(parameter.name)
    if len(names) < count:
        raise InvalidInputError(f"The model takes {len(names)} inputs by position, not {count}.")
    return tuple(names[:count])
