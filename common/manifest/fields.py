"""Single values of a manifest, each checked for type and bounds."""

from __future__ import annotations

import math
from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from typing import Any

from common.digest import is_digest
from common.errors import ManifestError
from common.manifest.limits import MAX_DIMENSIONS, MAX_ELEMENTS, MAX_TEXT_LENGTH


def keyed(
    tree: object, keys: AbstractSet[str], *, optional: AbstractSet[str] = frozenset()
) -> Mapping[str, Any]:
    """An object with all of the keys, and others of the optional ones alone.

    Raises:
        ManifestError: It is none; so in every function here.
    """
    if not isinstance(tree, dict) or set(tree) - optional != keys:
        raise ManifestError(f"An object with the keys {sorted(keys)} was expected.")
    return tree


def items(tree: object, limit: int) -> list[Any]:
    """A list of at most so many items."""
    if not isinstance(tree, list) or len(tree) > limit:
        raise ManifestError(f"A list of at most {limit} items was expected.")
    return tree


def integer(tree: object, low: int, high: int) -> int:
    """A whole number within bounds, both included."""
    if not isinstance(tree, int) or isinstance(tree, bool) or not low <= tree <= high:
        raise ManifestError(f"An integer in {low}..{high} was expected.")
    return tree


def text(tree: object) -> str:
    """A text that can be printed."""
    if not isinstance(tree, str) or not 1 <= len(tree) <= MAX_TEXT_LENGTH or not tree.isprintable():
        raise ManifestError(f"A text of 1 to {MAX_TEXT_LENGTH} printable characters was expected.")
    return tree


def digest(tree: object) -> str:
    """A SHA-256 in hex."""
    if not isinstance(tree, str) or not is_digest(tree):
        raise ManifestError("A SHA-256 digest was expected.")
    return tree


def shape(tree: object) -> tuple[int, ...]:
    """A tensor's sizes, at least one."""
    sizes = tuple(integer(size, 1, MAX_ELEMENTS) for size in items(tree, MAX_DIMENSIONS))
    if not sizes or math.prod(sizes) > MAX_ELEMENTS:
        raise ManifestError("A tensor's shape is empty or too large.")
    return sizes
