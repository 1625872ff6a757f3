"""Texts that every machine with Python has: the docstrings of its standard library."""

from __future__ import annotations

import ast
import random
import sysconfig
from collections.abc import Iterator
from pathlib import Path

_DOCUMENTED = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Module)
_SEED = 20260101


def docstrings() -> tuple[str, ...]:
    """Docstrings of the library's top-level modules, each once, in an order without meaning."""
    found: set[str] = set()
    for file in Path(sysconfig.get_path("stdlib")).glob("*.py"):
        found.update(_docstrings_in(ast.parse(file.read_bytes())))
    ordered = sorted(found)
    random.Random(_SEED).shuffle(ordered)  # noqa: S311 - an order, no secret
    return tuple(ordered)


def first_paragraph(text: str) -> str:
    """What stands before the first empty line, in one line."""
    return " ".join(text.strip().split("\n\n")[0].split())


def _docstrings_in(tree: ast.Module) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, _DOCUMENTED):
            text = ast.get_docstring(node)
            if text:
                yield text
