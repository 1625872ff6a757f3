"""What is measured of one model."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Row:
    """One row of the report.

    Bits are those of codes with their scales and offsets, per quantized weight. Tensors that stay float weigh
    the same under every scheme and are given apart.

    Attributes:
        model: Name of the model.
        levels: Of the version.
        rounding: Its mode.
        base_bits_per_weight: Of the bases.
        base_entropy_bits_per_weight: Order-0 entropy of each tensor's codes at its base, mean over weights.
        shard_bits_per_weight: Of the shards of each step.
        total_bits_per_weight: Base and shards.
        int8_bits_per_weight: Of one plain INT8 model under the same coder.
        int8_entropy_bits_per_weight: Order-0 entropy of its codes.
        paper_packed_bits_per_weight: High and low part as the paper's code packs them, codes alone.
        float_bits_per_weight: Of the tensors that stay float.
        metadata_bytes: Manifest, graph and self-test.
        manifest_bytes: Of these the manifest, as it is sent.
        payload_bytes: All blobs of all blocks.
        encode_mb_per_s: Million weights that one core codes in a second.
        decode_mb_per_s: Million weights, of a byte each, that a core verifies and decodes to full-bit codes.
    """

    model: str
    levels: tuple[int, ...]
    rounding: str
    base_bits_per_weight: float
    base_entropy_bits_per_weight: float
    shard_bits_per_weight: tuple[float, ...]
    total_bits_per_weight: float
    int8_bits_per_weight: float
    int8_entropy_bits_per_weight: float
    paper_packed_bits_per_weight: float
    float_bits_per_weight: float
    metadata_bytes: int
    manifest_bytes: int
    payload_bytes: int
    encode_mb_per_s: float
    decode_mb_per_s: float
