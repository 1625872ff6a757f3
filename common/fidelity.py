"""The fidelity report of a version: what each level is worth, and what each shard adds.

Computed at push from the very blobs that are sent, kept with the version as one blob (``fidelity_codec``),
and shown to operators; no device needs it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

# What the samples were given for: to choose codes by, to judge the model by, or to trace it.
SampleKind: TypeAlias = Literal["calibration", "evaluation", "example"]
# Where a block's error was measured: in the model's outputs, or in the block's own weights.
SensitivityKind: TypeAlias = Literal["output", "weights"]

# A level without labels is worth serving from this mean cosine to the float model's outputs.
LEAST_COSINE: Final = 0.9
# With labels, from a top-1 that is no further than this below the float model's: two points.
TOP1_ROOM: Final = 0.02
_ROUNDING_ERROR: Final = 1e-9


@dataclass(frozen=True, slots=True)
class LevelFidelity:
    """A version with every block at one level, or at its lowest where that is higher.

    Attributes:
        level: The bit-width.
        size_bytes: Wire bytes of all blobs that it takes, each distinct one once.
        weight_sqnr_db: Energy of the quantized weights as floats over that of their error, in decibels;
            None where there is no error.
        output_cosine: Between the outputs and the float model's: mean over samples, all float outputs of one
            sample as one vector. Of a model without float outputs, the share of equal values.
        output_sqnr_db: Energy of the float model's outputs over that of the error; None without error.
        argmax_agreement: Share of places where the greatest value along the last axis of the first float
            output is the float model's; None where that axis has one value.
        top1: Share of labels that the first output hits, as the acceptance test counts; None without labels.
    """

    level: int
    size_bytes: int
    weight_sqnr_db: float | None
    output_cosine: float
    output_sqnr_db: float | None
    argmax_agreement: float | None
    top1: float | None


@dataclass(frozen=True, slots=True)
class ShardGain:
    """What one shard of a block is worth.

    Attributes:
        level: That it lifts to.
        size_bytes: Of its blob on the wire.
        gain: By how much the error that this block alone causes shrinks. Energy of the output's error as a
            share of the energy of the full-bit model's output, mean over samples; measured in weights, the
            energy of their error as a share of their tensor's, summed over the block's tensors.
    """

    level: int
    size_bytes: int
    gain: float

    @property
    def gain_per_byte(self) -> float:
        """Gain for each byte that is fetched or held."""
        return self.gain / self.size_bytes


@dataclass(frozen=True, slots=True)
class BlockSensitivity:
    """A block with quantized tensors.

    Attributes:
        block: Index in the manifest.
        first_tensor: Name of the first of its quantized tensors.
        tensors: How many there are.
        base_level: Level of its base.
        shards: Lowest first; none where the base is full-bit.
    """

    block: int
    first_tensor: str
    tensors: int
    base_level: int
    shards: tuple[ShardGain, ...]

    @property
    def gain(self) -> float:
        """What all its shards gain together."""
        return sum(shard.gain for shard in self.shards)

    @property
    def shard_bytes(self) -> int:
        """Wire bytes of all its shards."""
        return sum(shard.size_bytes for shard in self.shards)

    @property
    def gain_per_byte(self) -> float:
        """Of all its shards together; 0 where it has none."""
        return self.gain / self.shard_bytes if self.shards else 0.0


@dataclass(frozen=True, slots=True)
class TensorFidelity:
    """A quantized tensor.

    Attributes:
        name: In the graph.
        rounding: The mode that chose its codes.
        levels: At which it has codes, lowest first; where its blocks differ, those of the lowest.
        weight_sqnr_db: One per level, as in ``LevelFidelity``.
        shard_bits: Bits of a weight in each shard, one per level above the lowest.
    """

    name: str
    rounding: str
    levels: tuple[int, ...]
    weight_sqnr_db: tuple[float | None, ...]
    shard_bits: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class FidelityReport:
    """The whole report.

    Attributes:
        samples: On how many inputs outputs were compared.
        sample_kind: What these inputs were.
        fp32_top1: Share of labels that the float model hits; None without labels.
        levels: One per level of the version, lowest first.
        sensitivity: Where the gains of shards were measured.
        sensitivity_samples: On how many inputs, the first of the samples; 0 where that took none.
        blocks: Blocks with quantized tensors, in the manifest's order.
        tensors: In the order of their first block.
    """

    samples: int
    sample_kind: SampleKind
    fp32_top1: float | None
    levels: tuple[LevelFidelity, ...]
    sensitivity: SensitivityKind
    sensitivity_samples: int
    blocks: tuple[BlockSensitivity, ...]
    tensors: tuple[TensorFidelity, ...]

    @property
    def serving_level(self) -> int | None:
        """The lowest level worth serving; see ``lowest_worth_serving``."""
        return lowest_worth_serving(self.levels, self.fp32_top1)


def lowest_worth_serving(levels: Sequence[LevelFidelity], fp32_top1: float | None = None) -> int | None:
    """The lowest level that is worth serving, as is every level above it; None where full-bit is not.

    With labels a level is worth serving when its top-1 is within two points of the float model's; without,
    when the mean cosine of its outputs to the float model's is at least 0.9. The NestQuant paper (arXiv
    2506.17870) calls what lies just above the cliff the critical nested combination.

    Args:
        levels: Lowest first.
        fp32_top1: The float model's; None without labels.
    """
    found = None
    for fidelity in reversed(levels):
        if not _worth_serving(fidelity, fp32_top1):
            break
        found = fidelity.level
    return found


def _worth_serving(fidelity: LevelFidelity, fp32_top1: float | None) -> bool:
    if fp32_top1 is not None and fidelity.top1 is not None:
        return fidelity.top1 >= fp32_top1 - TOP1_ROOM - _ROUNDING_ERROR
    return fidelity.output_cosine >= LEAST_COSINE
