"""How a version may use integer kernels."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal, Protocol, TypeAlias

Mode: TypeAlias = Literal["auto", "exact", "fast", "float"]
MODES: Final[tuple[Mode, ...]] = ("auto", "exact", "fast", "float")
# "none" stands for floats alone, as a board without any of them has it.
ENGINES: Final = ("auto", "onednn", "qnnpack", "fbgemm", "none")
TOLERANCE: Final = 0.2


@dataclass(frozen=True, slots=True)
class KernelRules:
    """What somebody set.

    Attributes:
        mode: "auto" measures each layer once and takes what is faster; "fast" takes kernels wherever they
            serve; "exact" too, with the offsets of convolutions apart, which costs time; "float" takes none.
        engine: One of ``ENGINES``.
        tolerance: Largest ``norm(integer - float) / norm(float)`` of an output on the version's self-test. A
            version beyond it runs in floats.
    """

    mode: Mode = "auto"
    engine: str = "auto"
    tolerance: float = TOLERANCE


class Choices(Protocol):
    """Remembers which layers are faster on kernels; measuring them again would give the same."""

    def get(self, key: str) -> Mapping[str, bool] | None:
        """Weight to whether kernels are faster; None where nothing is known."""

    def put(self, key: str, faster: Mapping[str, bool]) -> None:
        """Remember it; a disk that refuses is no reason to fail."""


class NoChoices:
    """Remembers nothing."""

    def get(self, key: str) -> Mapping[str, bool] | None:  # noqa: ARG002
        """Nothing is known."""
        return None

    def put(self, key: str, faster: Mapping[str, bool]) -> None:
        """Forget it."""
