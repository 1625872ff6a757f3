"""What quantizing a model yields."""

from __future__ import annotations

from dataclasses import dataclass

from common.manifest import BlobRef, Block, Manifest
from common.sizes import SizeReport


@dataclass(frozen=True, slots=True)
class Quantized:
    """A version, but for its name and number.

    Attributes:
        levels, rounding, graph, self_test, blocks, fidelity: As in the manifest.
        sizes: ``metadata_bytes`` lacks the manifest, which does not exist yet.
    """

    levels: tuple[int, ...]
    rounding: str
    graph: BlobRef
    self_test: BlobRef
    blocks: tuple[Block, ...]
    sizes: SizeReport
    fidelity: BlobRef | None = None

    def manifest(self, model: str, version: int) -> Manifest:
        """The manifest under a name and number."""
        return Manifest(
            model,
            version,
            self.levels,
            self.rounding,
            self.graph,
            self.self_test,
            self.blocks,
            fidelity=self.fidelity,
        )
