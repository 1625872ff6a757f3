"""Which tensors may take a byte a weight within a memory limit. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence

from common.manifest import Manifest, TensorPart
from device_agent.residency.bit_planes import planes_size_bytes

_ROW_BYTES = 20  # scale and offset of each row, or scale, slope, intercept and where it reaches too far
_SLACK = 16  # one part in so many, for what leads back to codes at every level that was seen


def affordable(
    manifest: Manifest,
    levels: Sequence[int],
    wanted: Iterable[tuple[str, int]],
    spare_bytes: int,
) -> frozenset[str]:
    """Tensors to hold as bytes.

    Args:
        manifest: The version.
        levels: The level of each block.
        wanted: Tensors and the bytes that each would take for a weight, the most worthwhile first; each is
            taken that still fits.
        spare_bytes: What packed weights leave of the memory.
    """
    parts: dict[str, list[tuple[TensorPart, int]]] = {}
    for block, level in zip(manifest.blocks, levels, strict=True):
        for part in block.tensors:
            parts.setdefault(part.name, []).append((part, block.nearest(manifest.levels, level)))
    chosen: set[str] = set()
    for name, bytes_per_weight in wanted:
        extra_bytes = _extra_bytes(parts.get(name, ()), bytes_per_weight)
        if extra_bytes <= spare_bytes and name in parts:
            chosen.add(name)
            spare_bytes -= extra_bytes
    return frozenset(chosen)


def _extra_bytes(parts: Collection[tuple[TensorPart, int]], bytes_per_weight: int) -> int:
    """Memory that a tensor takes as bytes beyond what it takes packed."""
    return sum(
        part.weights * bytes_per_weight
        - planes_size_bytes(part.weights, level)
        + part.rows * _ROW_BYTES
        + part.weights // _SLACK
        for part, level in parts
    )
