"""A model with the inputs that it is measured and calibrated on."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn


@dataclass(frozen=True, slots=True, eq=False)
class Net:
    """A model that every runtime is given.

    Attributes:
        module: In evaluation mode, of the transformers library, and takes its inputs by name.
        inputs: By name, in order; axis 0 has at least as many samples as the largest batch.
        calibration: Other samples by the same names, for the ranges of activations.
    """

    module: nn.Module
    inputs: dict[str, torch.Tensor]
    calibration: dict[str, torch.Tensor]
