"""torch's threads: how many there are, and that they sleep while they wait for each other."""

from __future__ import annotations

import os
import sys


def sleep_while_waiting() -> None:
    """Have torch's threads give their cores back between two operators; counts until torch is imported.

    By default they spin. On a board that does anything else besides, the one thread that works then waits for
    a core that the others hold only to spin: a forward pass of 15 ms was seen to take a second.
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")


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
