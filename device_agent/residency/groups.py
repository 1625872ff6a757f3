"""Which blocks of a version change together. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from common.manifest import Block


def block_groups(blocks: Sequence[Block]) -> tuple[range, ...]:
    """Runs of blocks, in order and without gaps, such that no tensor has rows in two of them."""
    last: dict[str, int] = {part.name: at for at, block in enumerate(blocks) for part in block.tensors}
    groups: list[range] = []
    start = end = 0
    for at, block in enumerate(blocks):
        if at > end:
            groups.append(range(start, end + 1))
            start = at
        end = max(end, at, *(last[part.name] for part in block.tensors))
    return (*groups, range(start, end + 1)) if blocks else ()
