"""How much is measured."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

MODELS: Final = ("resnet18-digits", "resnet50", "minilm")


@dataclass(frozen=True, slots=True)
class Scale:
    """How much of everything.

    Attributes:
        repeats: Changes with nothing else to do, for each pair of levels.
        loads: Loads of a separate model.
        requests: Name of a model to its requests under changes, for each two levels; as many without.
        rounds: Into so many rounds they are split, with and without changes in turn.
        load: Share of what one worker can answer.
        packed: Whether weights stay packed while they execute.
    """

    repeats: int = 9
    loads: int = 3
    requests: Mapping[str, int] = field(
        default_factory=lambda: {"resnet18-digits": 2100, "resnet50": 600, "minilm": 750, "vit-b": 150}
    )
    rounds: int = 3
    load: float = 0.5
    packed: bool = False


def quick(*, packed: bool) -> Scale:
    """Little of everything, to see that it works."""
    few = dict.fromkeys((*MODELS, "vit-b", "mobilenet-digits"), 30)
    return Scale(repeats=1, loads=1, requests=few, rounds=1, packed=packed)
