"""What a version weighs, nested and under the schemes it is compared with."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class SizeReport:
    """Bytes of one version; every figure counts scales and unquantized floats, as that scheme sends them.

    Attributes:
        fp32_bytes: Everything as 32-bit floats.
        int8_bytes: One INT8 model under our coder.
        separate_bytes: Level to the bytes of a model quantized for that level alone, under our coder.
        paper_high_bytes: The paper's packing of the base level: ``ceil(count / (64 // h)) * 8`` per tensor.
        paper_low_bytes: The paper's packing of the rest, ``l + 1`` bits in 64-bit words, l = full - base.
        base_bytes: Nested: wire bytes of all base blobs.
        shard_bytes: Level to the wire bytes of all shards that lift to it.
        metadata_bytes: Graph and self-test on the wire, and the manifest as one zstd frame.
        weights: Count of quantized weights.
        floats: Count of values that stay float.
    """

    fp32_bytes: int
    int8_bytes: int
    separate_bytes: Mapping[int, int]
    paper_high_bytes: int
    paper_low_bytes: int
    base_bytes: int
    shard_bytes: Mapping[int, int]
    metadata_bytes: int
    weights: int
    floats: int
