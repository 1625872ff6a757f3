"""Memory for what stays: it is the system's again as soon as nobody uses it.

What an allocator frees, it keeps for the next who asks. That is right for what comes and goes at every
request, and wrong for weights that were dropped to make room: glibc gives back the free end of a thread's
heap only once it is many MiB long, and ``malloc_trim`` does not touch it.
"""

from __future__ import annotations

import mmap
from typing import Final

import numpy as np
from numpy.typing import NDArray

_LEAST_BYTES: Final = 1 << 17  # smaller ones would lose too much of their last page


def lasting_bytes(count: int) -> NDArray[np.uint8]:
    """Room for what is held for long: uint8 [count], of no particular values."""
    if count < _LEAST_BYTES:
        return np.empty(count, np.uint8)
    return np.frombuffer(mmap.mmap(-1, count), np.uint8)
