"""Values of parsed JSON that others wrote, each taken as what it should be, or refused."""

from __future__ import annotations

import math
from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from typing import Any, Final, TypeVar

from common.errors import InvalidInputError

MAX_TEXT: Final = 512
MAX_INTEGER: Final = (1 << 53) - 1  # every reader of JSON keeps integers up to it exactly

Word = TypeVar("Word")


def object_of(tree: object, keys: AbstractSet[str]) -> Mapping[str, Any]:
    """An object with exactly these keys.

    Raises:
        InvalidInputError: It is none; so too in every function here.
    """
    if not isinstance(tree, dict) or set(tree) != keys:
        raise InvalidInputError(f"An object with the keys {sorted(keys)} was expected.")
    return tree


def items_of(tree: object, limit: int) -> list[Any]:
    """A list of at most ``limit`` items."""
    if not isinstance(tree, list) or len(tree) > limit:
        raise InvalidInputError(f"A list of at most {limit} items was expected.")
    return tree


def integer(tree: object, *, least: int = 0, most: int = MAX_INTEGER) -> int:
    """A whole number within bounds."""
    if type(tree) is not int or not least <= tree <= most:
        raise InvalidInputError(f"A whole number from {least} to {most} was expected.")
    return tree


def real(tree: object, least: float, most: float) -> float:
    """A finite number within bounds, written as a fraction: a whole number is none."""
    if type(tree) is not float or not math.isfinite(tree) or not least <= tree <= most:
        raise InvalidInputError(f"A number with a fraction from {least:g} to {most:g} was expected.")
    return tree


def text(tree: object) -> str:
    """A text of 1 to 512 characters, none of which could steer a terminal."""
    if not isinstance(tree, str) or not 1 <= len(tree) <= MAX_TEXT or not tree.isprintable():
        raise InvalidInputError(f"A text of 1 to {MAX_TEXT} printable characters was expected.")
    return tree


def word(tree: object, words: tuple[Word, ...]) -> Word:
    """One of some words."""
    for known in words:
        if known == tree:
            return known
    raise InvalidInputError(f"One of {list(words)} was expected.")
