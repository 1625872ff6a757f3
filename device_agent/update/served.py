"""The port to the runtime: a version in memory that can be proven, paged and asked."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from common.manifest import Manifest
from device_agent.inference.answering import AnsweringModel
from device_agent.residency.block_loader import ReadBlob
from device_agent.residency.pager import PageReport


class Served(AnsweringModel, Protocol):
    """A loaded version. Its methods block and are safe beside requests."""

    @property
    def manifest(self) -> Manifest:
        """What the version is made of."""

    @property
    def levels(self) -> tuple[int, ...]:
        """The level of each block."""

    @property
    def level(self) -> int:
        """Lowest level of any block with quantized tensors."""

    @property
    def resident_bytes(self) -> int:
        """Memory that its weights take."""

    @property
    def loaded_digest(self) -> str:
        """Names the codes that are loaded, 64 hex digits."""

    def prove(self) -> int:
        """Run the self-test at ``level``, and return it.

        Raises:
            SelfTestError: The version does not answer as it should.
        """

    def set_levels(self, levels: Sequence[int]) -> PageReport:
        """Bring each block to its level.

        Raises:
            IntegrityError: A shard on disk is not what the manifest says; every block is whole all the same.
        """

    def set_memory(self, memory_bytes: int) -> None:
        """Memory that its weights may take at most, from now on.

        What packed codes leave of it is used to run layers from one byte a weight, which is faster. Where it
        is less than the packed codes take, the levels are too high for it: they stay as they are.
        """


class Load(Protocol):
    """How a version comes into memory."""

    def __call__(self, manifest: Manifest, read: ReadBlob, levels: Sequence[int]) -> Served:
        """The version with each block at its level, every byte verified.

        Raises:
            IntegrityError: A blob on disk is not what the manifest says.
            UnsupportedModelError: The graph needs what this agent does not have.
        """
