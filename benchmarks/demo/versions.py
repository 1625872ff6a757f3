"""What the demo names to ``nestfleet push``: one function per version, as an operator would write it."""

from __future__ import annotations

import torch
from torch import nn

from benchmarks.demo.weights import load_trained

Pushed = tuple[nn.Module, tuple[torch.Tensor, ...]]

_EXAMPLES = 4


def version_1() -> Pushed:
    """The first release."""
    return load_trained(1), _example_inputs()


def version_2() -> Pushed:
    """The last layers fine-tuned."""
    return load_trained(2), _example_inputs()


def version_3() -> Pushed:
    """The last layers spoilt."""
    return load_trained(3), _example_inputs()


def _example_inputs() -> tuple[torch.Tensor, ...]:
    return (torch.zeros(_EXAMPLES, 1, 8, 8),)
