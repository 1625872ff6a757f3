"""How this process deals with memory that it has let go of."""

from __future__ import annotations

from typing import Final

_LARGEST_BYTES: Final = 16 * 1024 * 1024


def keep_freed_memory() -> None:
    """Buffers of up to 16 MiB come from memory that was used before.

    The C library gives a buffer above 128 KiB back to the system at once, until it has seen a larger one come
    and go. Every piece of a blob would then be mapped and cleared page by page: sending was seen to take
    three times the processor time.
    """
    bytes(_LARGEST_BYTES)
