"""What an export yields."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from common.graph.model import Graph


@dataclass(frozen=True, slots=True, eq=False)
class Exported:
    """A model, taken apart: a snapshot that later training does not touch.

    Attributes:
        graph: The computation.
        states: Name to tensor on the CPU, contiguous; exactly those that the graph names.
        inputs: The example inputs in the graph's order.
    """

    graph: Graph
    states: dict[str, torch.Tensor]
    inputs: tuple[torch.Tensor, ...]

    def tensor(self, name: str) -> torch.Tensor:
        """A state by its name; makes this a ``common.graph.build.StateSource``."""
        return self.states[name]
