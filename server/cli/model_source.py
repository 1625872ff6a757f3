"""A model from ``MODULE:FUNCTION``: the operator's own code, run here and nowhere else."""

from __future__ import annotations

import importlib
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

from common.errors import InvalidInputError

_SHAPE = "def make(): return model, (example_input,)"


def load_model(source: str, folder: Path) -> tuple[Any, Any]:
    """The model and the example inputs that a function returns.

    Args:
        source: ``MODULE:FUNCTION``.
        folder: Where modules are looked for, before the installed ones.

    Raises:
        InvalidInputError: There is no such function, it fails, or it returns something else.
    """
    made = _run(source, _find(source, folder))
    if not isinstance(made, tuple) or len(made) != 2:  # noqa: PLR2004
        raise InvalidInputError(
            f"{source} returned {type(made).__name__}, not a model with its example inputs.",
            advice=f"It should read: {_SHAPE}",
        )
    return made


def _find(source: str, folder: Path) -> Callable[[], Any]:
    module_name, _, function_name = source.partition(":")
    if not all(part.isidentifier() for part in [*module_name.split("."), function_name]):
        raise InvalidInputError(
            f"{source[:80]!r} is neither a folder nor MODULE:FUNCTION.",
            advice="For models/net.py with a function make, write models.net:make.",
        )
    if str(folder) not in sys.path:
        sys.path.insert(0, str(folder))
    module = _import(module_name, folder)
    function: Callable[[], Any] | None = getattr(module, function_name, None)
    if not callable(function):
        raise InvalidInputError(
            f"Module {module_name} has no function {function_name!r}.", advice=f"It should read: {_SHAPE}"
        )
    return function


def _import(name: str, folder: Path) -> Any:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name and (name == error.name or name.startswith(f"{error.name}.")):
            raise InvalidInputError(
                f"No module {name!r} in {folder}.", advice="Run this in the folder that holds it."
            ) from error
        raise _failure(f"Importing {name}", error) from error
    except Exception as error:
        raise _failure(f"Importing {name}", error) from error


def _run(source: str, function: Callable[[], Any]) -> Any:
    try:
        return function()
    except Exception as error:
        raise _failure(source, error) from error


def _failure(what: str, error: Exception) -> InvalidInputError:
    """Any error of foreign code, with the place where it came from."""
    frames = traceback.extract_tb(error.__traceback__)
    place = f" ({Path(frames[-1].filename).name}, line {frames[-1].lineno})" if frames else ""
    return InvalidInputError(f"{what} failed: {type(error).__name__}: {error}{place}.")
