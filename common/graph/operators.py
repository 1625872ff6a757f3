"""The callables behind the allowed operator names; the one place that reaches into ``torch.ops``."""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any, Final

import torch

from common.errors import UnsupportedModelError
from common.graph.ops import GETITEM, check_op, place

_PLAIN: Final[dict[str, Callable[..., Any]]] = {
    GETITEM: operator.getitem,
    "sym.add": operator.add,
    "sym.sub": operator.sub,
    "sym.mul": operator.mul,
    "sym.floordiv": operator.floordiv,
    "sym.mod": operator.mod,
    "sym.neg": operator.neg,
    "sym.max": max,
    "sym.min": min,
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
