"""How a tensor is nested: which levels of the version it has, and how its weights come to be codes."""

from __future__ import annotations

from dataclasses import dataclass

from server.quantize.rounding import Rounding


@dataclass(frozen=True, slots=True)
class Format:
    """Of one tensor.

    Attributes:
        levels: Its own levels: those of the version from its base up.
        rounding: Its mode.
    """

    levels: tuple[int, ...]
    rounding: Rounding
