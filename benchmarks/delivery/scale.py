"""How much is measured."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

_MIB: Final = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Scale:
    """Sizes of all scenarios.

    Attributes:
        devices: How many fetch at once, one row each.
        stream_bytes: What all of them fetch together, about.
        runs: How many times each way is measured.
        links_mbit_per_s: Slow links, one row each.
        limited_width: Width of the model for them; 0 for a ResNet-18.
        cuts: How many.
        cuts_width: Width of the model that is cut.
        cuts_mbit_per_s: Rate of the link that is cut.
    """

    devices: tuple[int, ...]
    stream_bytes: int
    runs: int
    links_mbit_per_s: tuple[float, ...]
    limited_width: int
    cuts: int
    cuts_width: int
    cuts_mbit_per_s: float


FULL: Final = Scale((1, 8, 64), 1024 * _MIB, 5, (1, 8), 0, 100, 7000, 16)
QUICK: Final = Scale((1, 3), 12 * _MIB, 1, (8,), 256, 3, 256, 8)
