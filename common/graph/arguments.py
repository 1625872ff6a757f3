"""Arguments of operators as JSON, and back within bounds.

Numbers, booleans, null and lists stand for themselves. A string is a reference: "%name" to an input or a
node, "$name" to a state. What JSON has no form for is an object with one key: "text", "dtype",
"memory_format", or "float" for the values "inf", "-inf" and "nan".
"""

from __future__ import annotations

import math
from typing import Any, Final

from common.errors import InvalidInputError
from common.graph.model import DTYPES, MEMORY_FORMATS, Argument, Dtype, MemoryFormat, StateRef, ValueRef

MAX_TEXT: Final = 512
MAX_ITEMS: Final = 65_536
_MAX_DEPTH: Final = 8
_INT64: Final = 1 << 63
_SPECIAL_FLOATS: Final = ("inf", "-inf", "nan")


def to_tree(argument: Argument) -> object:  # noqa: PLR0911 - one line per form
    """The JSON form of an argument."""
    match argument:
        case ValueRef(name):
            return f"%{name}"
        case StateRef(name):
            return f"${name}"
        case Dtype(name):
            return {"dtype": name}
        case MemoryFormat(name):
            return {"memory_format": name}
        case str():
            return {"text": argument}
        case tuple():
            return [to_tree(item) for item in argument]
        case float() if not math.isfinite(argument):
            return {"float": str(argument)}
        case _:
            return argument


def from_tree(tree: object, depth: int = 0) -> Argument:
    """The argument that a JSON form stands for.

    Raises:
        InvalidInputError: It is none, or exceeds a bound.
    """
    match tree:
        case None | bool() | float():
            return tree
        case int() if -_INT64 <= tree < _INT64:
            return tree
        case str():
            return reference(tree)
        case list() if len(tree) <= MAX_ITEMS and depth < _MAX_DEPTH:
            return tuple(from_tree(item, depth + 1) for item in tree)
        case dict() if len(tree) == 1:
            return _tagged(*next(iter(tree.items())))
        case _:
            raise InvalidInputError("An argument is out of bounds or of no known form.")


def reference(tree: object) -> ValueRef | StateRef:
    """A value or a state from "%name" or "$name".

    Raises:
        InvalidInputError: It is neither.
    """
    name = text(tree)
    if name.startswith("%"):
        return ValueRef(name[1:])
    if name.startswith("$"):
        return StateRef(name[1:])
    raise InvalidInputError(f"{name[:80]!r} is no reference.")


def text(tree: object, *, empty: bool = False) -> str:
    """A bounded string of printable characters.

    Raises:
        InvalidInputError: It is none.
    """
    if not isinstance(tree, str) or len(tree) > MAX_TEXT or not tree.isprintable() or not (tree or empty):
        raise InvalidInputError(f"A text of 1 to {MAX_TEXT} printable characters was expected.")
    return tree


def one_of(tree: object, known: frozenset[str]) -> str:
    """A member of a set of names.

    Raises:
        InvalidInputError: It is none.
    """
    name = text(tree)
    if name not in known:
        raise InvalidInputError(f"{name[:80]!r} is none of {sorted(known)}.")
    return name


def _tagged(tag: str, value: Any) -> Argument:
    match tag:
        case "text":
            return text(value, empty=True)
        case "dtype":
            return Dtype(one_of(value, DTYPES))
        case "memory_format":
            return MemoryFormat(one_of(value, MEMORY_FORMATS))
        case "float" if value in _SPECIAL_FLOATS:
            return float(value)
        case _:
            raise InvalidInputError("An argument is of no known form.")
