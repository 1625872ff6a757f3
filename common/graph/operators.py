"""The callables behind the allowed operator names; the one place that reaches into ``torch.ops``."""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any, Final

import torch

from common.errors import UnsupportedModelError
from common.graph.ops import GETITEM, check_op, place


def _of_integers(function: Callable[..., int]) -> Callable[..., int]:
    """The function, closed to what is no integer: a text times a large number would fill the memory."""

    def checked(*sizes: object) -> int:
        if not all(isinstance(size, int) for size in sizes):
            raise TypeError("a size is no integer")
        return function(*sizes)

    return checked


_PLAIN: Final[dict[str, Callable[..., Any]]] = {
    GETITEM: operator.getitem,
    "sym.add": _of_integers(operator.add),
    "sym.sub": _of_integers(operator.sub),
    "sym.mul": _of_integers(operator.mul),
    "sym.floordiv": _of_integers(operator.floordiv),
    "sym.mod": _of_integers(operator.mod),
    "sym.neg": _of_integers(operator.neg),
    "sym.max": _of_integers(max),
    "sym.min": _of_integers(min),
}


def resolve(op: str, layer: str) -> Callable[..., Any]:
    """The callable that an allowed name stands for.

    Raises:
        UnsupportedModelError: The name is not allowed, or this torch does not have it.
    """
    check_op(op, layer)
    if op in _PLAIN:
        return _PLAIN[op]
    _, name, overload = op.split(".")
    try:
        found: Callable[..., Any] = getattr(getattr(torch.ops.aten, name), overload)
    except AttributeError as error:
        raise UnsupportedModelError(
            f"Operator {op!r} in {place(layer)} is not in torch {torch.__version__}.",
            advice="Use the torch version that the model was pushed with.",
        ) from error
    return found
