"""Names for what a model yields, whether a tensor, a tuple, a dictionary or a nest of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from common.errors import InvalidInputError


def flatten(yielded: Any) -> tuple[tuple[str, Any], ...]:
    """Name and value of every leaf that is not None: the path of keys, or "output_N" by position.

    Raises:
        InvalidInputError: Two leaves get one name.
    """
    leaves = [(path, leaf) for path, leaf in _leaves(yielded, ()) if leaf is not None]
    names = [_name(path, index) for index, (path, _) in enumerate(leaves)]
    if len(set(names)) != len(names):
        raise InvalidInputError(f"The model's outputs share names: {names}.")
    return tuple(zip(names, (leaf for _, leaf in leaves), strict=True))


def _leaves(yielded: Any, path: tuple[str | int, ...]) -> Iterator[tuple[tuple[str | int, ...], Any]]:
    if isinstance(yielded, Mapping):
        for key, value in yielded.items():
            yield from _leaves(value, (*path, str(key)))
    elif isinstance(yielded, Sequence) and not isinstance(yielded, str):
        keys = getattr(yielded, "_fields", range(len(yielded)))
        for key, value in zip(keys, yielded, strict=True):
            yield from _leaves(value, (*path, key))
    else:
        yield path, yielded


def _name(path: tuple[str | int, ...], index: int) -> str:
    if any(isinstance(step, str) for step in path):
        return ".".join(str(step) for step in path)
    return f"output_{index}"
