"""Tasks for workers; a module of its own, since other processes import them by name."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from common.errors import CapacityError, InvalidInputError


def double(number: int) -> int:
    return 2 * number


def doubled(values: NDArray[np.float32]) -> NDArray[np.float32]:
    return 2 * values


def double_but_three(number: int) -> int:
    if number >= 3:
        raise InvalidInputError(f"{number} is refused.", advice="Take less.")
    return 2 * number


def no_room(number: int) -> int:
    raise CapacityError("No room.", needed_bytes=number, available_bytes=1)


def time_out(_number: int) -> int:
    raise TimeoutError("of the task itself")


def die_once(marker: Path, task: Callable[[Any], Any], item: Any) -> Any:
    """Kills its process, unless somebody has done so before."""
    try:
        marker.touch(exist_ok=False)
    except FileExistsError:
        return task(item)
    return die(item)


def die(item: object) -> object:
    os.kill(os.getpid(), signal.SIGKILL)
    return item


def wait_for_ever(begun: Path) -> None:
    begun.touch()
    threading.Event().wait()
