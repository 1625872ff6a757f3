"""A state that blocks shall come to: level and form of each. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from common.manifest import Block
from device_agent.residency.block_loader import OpenBlob, lift_block, lower_block, reform_block
from device_agent.residency.codes import is_unpacked
from device_agent.residency.resident import ResidentBlock


@dataclass(frozen=True, slots=True)
class Target:
    """The state.

    Attributes:
        levels: Of each block, one that it has.
        unpacked: Names of tensors that take a byte a weight; the others are packed.
    """

    levels: tuple[int, ...]
    unpacked: frozenset[str]

    def block(
        self, at: int, block: Block, levels: Sequence[int], now: ResidentBlock, opened: OpenBlob
    ) -> ResidentBlock:
        """A block in this state; ``now`` stays as it is.

        Args:
            at: Its index.
            block: What the manifest says of it.
            levels: All levels of the version.
            now: Its present state.
            opened: Asked for the shards between, lowest first.

        Raises:
            IntegrityError: A shard or what it yields is not what the manifest says.
        """
        if self.levels[at] > now.level:
            now = lift_block(block, levels, now, self.levels[at], opened, self.unpacked)
        elif self.levels[at] < now.level:
            now = lower_block(block, levels, now, self.levels[at], self.unpacked)
        return reform_block(now, self.unpacked)

    def reached(self, at: int, now: ResidentBlock) -> bool:
        """Whether a block is in this state."""
        return now.level == self.levels[at] and all(
            is_unpacked(part.codes) == (part.part.name in self.unpacked) for part in now.parts
        )

    def has_bytes(self, now: ResidentBlock) -> bool:
        """Whether any of its tensors takes a byte a weight, now or in this state."""
        return any(is_unpacked(part.codes) or part.part.name in self.unpacked for part in now.parts)

    def takes_more(self, at: int, now: ResidentBlock) -> bool:
        """Whether a block takes more memory in this state."""
        return self.levels[at] > now.level or any(
            part.part.name in self.unpacked and not is_unpacked(part.codes) for part in now.parts
        )
