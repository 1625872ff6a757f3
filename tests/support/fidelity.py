"""A fidelity report with round figures."""

from __future__ import annotations

from collections.abc import Sequence

from common.fidelity import BlockSensitivity, FidelityReport, LevelFidelity, ShardGain, TensorFidelity


def level_fidelity(
    level: int, cosine: float, top1: float | None = None, *, size_bytes: int = 1000
) -> LevelFidelity:
    return LevelFidelity(level, size_bytes, 20.0, cosine, 10.0, 0.5, top1)


def block_gains(block: int, name: str, *gains: float, size_bytes: int = 1 << 20) -> BlockSensitivity:
    """A block of one tensor at 4, 6 and 8 bits, or with as many of the highest of them as there are gains."""
    levels = (4, 6, 8)[-1 - len(gains) :]
    shards = tuple(ShardGain(level, size_bytes, gain) for level, gain in zip(levels[1:], gains, strict=True))
    return BlockSensitivity(block, name, 1, levels[0], shards)


def some_report(
    *, top1: Sequence[float | None] = (None, None, None), fp32_top1: float | None = None
) -> FidelityReport:
    """Levels 4, 6 and 8; the second block, of a tiny tensor, gains most per byte; the last is pinned."""
    cosines, sizes = (0.92, 0.995, 0.9999), (3 << 20, 5 << 20, 7 << 20)
    return FidelityReport(
        samples=64,
        sample_kind="evaluation",
        fp32_top1=fp32_top1,
        levels=tuple(
            level_fidelity(level, cosine, hits, size_bytes=size)
            for level, cosine, hits, size in zip((4, 6, 8), cosines, top1, sizes, strict=True)
        ),
        sensitivity="output",
        sensitivity_samples=32,
        blocks=(
            block_gains(0, "first.weight", 0.02, 0.001),
            block_gains(1, "norm.weight", 0.01, 0.0005, size_bytes=1 << 10),
            block_gains(3, "last.weight"),
        ),
        tensors=(
            TensorFidelity("first.weight", "floor", (4, 6, 8), (18.5, 30.25, 42.0), (2, 2)),
            TensorFidelity("norm.weight", "adaptive", (4, 6, 8), (18.0, 30.0, None), (3, 3)),
            TensorFidelity("last.weight", "floor", (8,), (42.0,), ()),
        ),
    )
