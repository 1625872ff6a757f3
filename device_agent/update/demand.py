"""How much each model is asked for, as memory shall follow it: smoothed, and in steps. Pure."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from typing import Final

LEAST_SHARE: Final = 0.1
_UNASKED: Final = 1.0
_SMOOTHING_SECONDS: Final = 600.0
_STEP: Final = 2.0


class Demand:
    """Each model's share of the requests.

    Levels must not come and go with every burst. So requests per second are smoothed over ten minutes, and
    shares hold until one of them has doubled or halved; a share below ``LEAST_SHARE`` counts as that, so an
    idle model keeps a say. As long as nobody asked for anything, all count the same.
    """

    def __init__(self) -> None:
        self._rates: dict[str, float] = {}
        self._shares: dict[str, float] = {}

    @property
    def shares(self) -> Mapping[str, float]:
        """Model to its share; empty as long as nobody asked."""
        return self._shares

    def of(self, model: str) -> float:
        """How much a model is asked for, in the unit of ``Want.demand``."""
        return self._shares.get(model, LEAST_SHARE) if self._shares else _UNASKED

    def look(self, answered: Mapping[str, int], seconds: float, present: Collection[str]) -> bool:
        """Take in what was answered; whether other shares hold now.

        Args:
            answered: Model to its requests since the last look.
            seconds: How long ago that was, above 0.
            present: Models that answer now; the others are forgotten.
        """
        weight = -math.expm1(-seconds / _SMOOTHING_SECONDS)
        self._rates = {
            model: (1 - weight) * self._rates.get(model, 0.0) + weight * answered.get(model, 0) / seconds
            for model in present
        }
        self._shares = {model: share for model, share in self._shares.items() if model in present}
        total = sum(self._rates.values())
        if not total:
            return False
        shares = {model: max(LEAST_SHARE, rate / total) for model, rate in self._rates.items()}
        if self._shares and not any(self._is_another(model, share) for model, share in shares.items()):
            return False
        self._shares = shares
        return True

    def _is_another(self, model: str, share: float) -> bool:
        held = self.of(model)
        return not held / _STEP < share < held * _STEP
