"""Becomes the command that it is given, tied to its parent: when that dies, however it dies, this ends too.

Run as ``python -m benchmarks.demo.tied_child COMMAND…``.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
from typing import Final

_PR_SET_PDEATHSIG: Final = 1  # linux/prctl.h


def main() -> None:
    """Never returns."""
    if sys.platform == "linux":
        parent = os.getppid()
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
        if os.getppid() != parent:  # it died in between
            sys.exit(1)
    os.execv(sys.argv[1], sys.argv[1:])  # noqa: S606 - the arguments are a fixed list of the demo's


if __name__ == "__main__":
    main()
