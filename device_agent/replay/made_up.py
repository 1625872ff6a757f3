"""A version that nobody pushed, for replays without a manifest. Pure."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Final

from common.block_codec import ROW_BYTES
from common.errors import InvalidInputError
from common.manifest import BlobRef, Block, Manifest, TensorPart

LEVELS: Final = (4, 6, 8)
_BLOCK_BYTES: Final = 1 << 20
_MOST_BLOCKS: Final = 4096
_ROW_WEIGHTS: Final = 1024
# Of the output's energy, in millionths: what one rounding to 4 bits costs all blocks together, and to 6.
_GAINS: Final = (130_000, 9_000)


def made_up_version(size_bytes: int) -> Manifest:
    """A version of about so many weights, a byte each at its full level, in blocks of at most a MiB.

    Its first and last blocks matter most, as they do in most models.

    Raises:
        InvalidInputError: It would have no weights, or more blocks than make sense.
    """
    blocks = math.ceil(size_bytes / _BLOCK_BYTES)
    if not 1 <= blocks <= _MOST_BLOCKS:
        raise InvalidInputError(
            f"A model of {size_bytes} bytes cannot be made up.", advice="Take from 1 KiB to 4 GiB."
        )
    rows = max(1, size_bytes // blocks // _ROW_WEIGHTS)
    shares = [1 / (1 + min(index, blocks - 1 - index)) for index in range(blocks)]
    whole = sum(shares)
    made = tuple(_block(index, rows, share / whole) for index, share in enumerate(shares))
    nothing = BlobRef(f"{'a' * 63}0", 1000, 1000, "raw")
    return Manifest("made-up", 1, LEVELS, "floor", nothing, nothing, made)


def _block(index: int, rows: int, share: float) -> Block:
    weights = rows * _ROW_WEIGHTS
    widths = (LEVELS[0], *(high - low for low, high in pairwise(LEVELS)))
    sizes = [weights * width // 8 + rows * ROW_BYTES for width in widths]
    blobs = tuple(
        BlobRef(f"{index * len(LEVELS) + at:064x}", size_bytes, size_bytes, "block")
        for at, size_bytes in enumerate(sizes)
    )
    part = TensorPart(f"block{index}", (rows, _ROW_WEIGHTS), 0, rows)
    gains = tuple(round(gain * share) for gain in _GAINS)
    return Block((part,), (), blobs, tuple(ref.digest for ref in blobs), gains=gains)
