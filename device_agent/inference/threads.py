"""torch's threads: how many there are, and how they wait for each other."""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Final

_SPINS: Final = 4_000  # a tenth of a millisecond on the box that was measured; most layers end sooner


def sleep_while_waiting() -> None:
    """Have torch's threads give their cores back soon between two operators; counts until torch is imported.

    By default they spin. On a board that does anything else besides, the one thread that works then waits for
    a core that the others hold only to spin: a forward pass of 15 ms was seen to take a second. If they sleep
    at once, each layer has to wake them: ResNet-50 took 20.1 ms in integers on two cores so, and 14.4 with
    4,000 spins. With 10,000 it took no less (14.3), but 85 instead of 42 beside a program that keeps a core.
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    os.environ.setdefault("GOMP_SPINCOUNT", str(_SPINS))


def limit_threads(count: int) -> None:
    """Let one inference use at most so many threads, whether torch is imported already or not yet.

    Args:
        count: 0 for as many as there are cores.
    """
    sleep_while_waiting()
    if count < 1:
        return
    os.environ["OMP_NUM_THREADS"] = str(count)
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(count)


def work_alone() -> None:
    """Have what torch computes in the calling thread start no others, where its OpenMP can be found.

    A thread that pages comes last on every core; helpers that it waited for would come last as well.
    ``torch.set_num_threads`` would count for threads to come too.
    """
    set_num_threads = _openmp()
    if set_num_threads is not None:
        set_num_threads(1)


def _openmp() -> Callable[[int], object] | None:
    torch = sys.modules.get("torch")
    if torch is None or torch.__file__ is None:
        return None
    for file in sorted(Path(torch.__file__).parent.glob("lib/libgomp*.so*")):
        try:
            # It is loaded already, so this is the very library that torch calls.
            found: Callable[[int], object] = ctypes.CDLL(str(file)).omp_set_num_threads
        except (OSError, AttributeError):
            continue
        return found
    return None
