"""One block's work, as it is handed to a worker: what goes there, and what comes back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from common.digest import sha256_hex
from common.errors import IntegrityError
from server.quantize.block_coder import BlockValues, CodedBlock, encode_block
from server.quantize.rounding import Rounding
from server.quantize.sizes import dedicated_sizes


@dataclass(frozen=True, slots=True)
class BlockWork:
    """What a block shall become.

    Attributes:
        values: Its floats.
        levels: Those of the block: the version's last ones, from its base up.
        rounding: The mode.
        compared: Levels of the dedicated models that the block is compared with: the version's.
    """

    values: BlockValues
    levels: tuple[int, ...]
    rounding: Rounding
    compared: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class BlockDone:
    """What it became.

    Attributes:
        coded: Its blobs.
        dedicated_bytes: See ``server.quantize.sizes.dedicated_sizes``; the values need not come back for it.
    """

    coded: CodedBlock
    dedicated_bytes: Mapping[int, int]


def code_block(work: BlockWork) -> BlockDone:
    """The block's blobs, and the sizes that it is compared with.

    Raises:
        InvalidInputError: A weight is NaN or infinite.
    """
    coded = encode_block(work.values, work.levels, work.rounding)
    return BlockDone(coded, dedicated_sizes(work.values, work.compared))


def check_whole(done: BlockDone) -> None:
    """Accept a block whose blobs are what they are named by.

    Raises:
        IntegrityError: One is not.
    """
    for ref, data in done.coded.blobs():
        if len(data) != ref.size_bytes or sha256_hex(data) != ref.digest:
            raise IntegrityError(
                f"A worker gave blob {ref.digest[:12]} with other content than its name says.",
                expected=ref.digest,
                actual=sha256_hex(data),
                advice="Check the memory and the network of the workers.",
            )
