"""A model's states at a part-bit level, as calibration decided them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from numpy.typing import NDArray

from common.graph.build import StateSource
from common.nesting import clamp_level
from server.quantize.affine import Affine, quantize_rows
from server.quantize.calibration.state_rows import rows_of
from server.quantize.format import Format
from server.quantize.weights import check_no_nan


class LevelStates:
    """A ``StateSource``: weights as far as they are decided at the level, the others as they are rounded.

    Args:
        floats: The model's own states.
        formats: Of every tensor that becomes codes.
        level: The version's level.
    """

    def __init__(self, floats: StateSource, formats: Mapping[str, Format], level: int) -> None:
        self._floats = floats
        self._formats = formats
        self.level = level
        self.affines: dict[str, Affine] = {}
        self.corrected: dict[str, NDArray[Any]] = {}

    def tensor(self, name: str) -> torch.Tensor:
        """A state by its name.

        Raises:
            InvalidInputError: It is not finite, or a float that is NaN: no sample is to blame then.
        """
        if name in self.corrected:
            return torch.from_numpy(self.corrected[name])
        own = self._floats.tensor(name)
        if name not in self._formats:
            check_no_nan(name, own)
            return own
        affine = self.affines.get(name) or self._rounded(name, own)
        return torch.from_numpy(affine.weights()).view(own.shape)

    def _rounded(self, name: str, own: torch.Tensor) -> Affine:
        form, rows = self._formats[name], rows_of(name, own)
        level = clamp_level(form.levels, self.level)
        if level == form.levels[-1]:
            return quantize_rows(rows.weights, level, name=name)
        return form.rounding(rows, form.levels).levels[form.levels.index(level)]
