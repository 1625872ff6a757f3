"""How pictures show kinds of bytes, and the schemes that they are held against."""

from __future__ import annotations

from typing import Final

from server.ledger.savings import Kind

MIB: Final = 1024 * 1024
# In the order in which they are stacked.
KINDS: Final = (
    (Kind.BASE, "base", "#1b6ca8"),
    (Kind.SHARD, "shards", "#4fa3d9"),
    (Kind.UPDATE, "updates", "#0f9d8a"),
    (Kind.DELTA, "deltas", "#7fc8a9"),
    (Kind.METADATA, "metadata", "#8a6fb3"),
    (Kind.RETRANSMITTED, "retransmitted", "#d1603d"),
    (Kind.OVERHEAD, "overhead", "#e0a83c"),
)
# Fields of Savings without their unit.
SCHEMES: Final = (
    ("paper", "the paper's packing"),
    ("int8", "one INT8 model"),
    ("separate", "one model per level"),
    ("fp32", "FP32"),
)


def size_text(size_bytes: int) -> str:
    """A size as a picture shows it."""
    if size_bytes < MIB:
        return f"{size_bytes / 1024:.1f} KiB"
    return f"{size_bytes / MIB:.1f} MiB"
