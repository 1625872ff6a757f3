"""The port to the server: what a device asks of it, whatever carries the bytes."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass
from typing import Protocol

from common.errors import Error
from device_agent.store.records import Broker


@dataclass(frozen=True, slots=True)
class Wanted:
    """A blob, from a byte on."""

    digest: str
    offset_bytes: int


@dataclass(frozen=True, slots=True)
class Chunk:
    """Some bytes of a wanted blob, not verified.

    Attributes:
        index: Which of the wanted blobs, counted from 0.
        data: May be empty where the blob ends.
        offset_bytes: Where ``data`` starts in the blob; chunks of a blob come in order and without gaps.
        end: Nothing more comes of this blob.
        error: With ``end``: why the blob cannot be had; the others still come.
    """

    index: int
    data: bytes
    offset_bytes: int
    end: bool
    error: Error | None = None


@dataclass(frozen=True, slots=True)
class DeltaOffer:
    """Blobs of a wanted version as one delta, as the server says; nothing of it is checked.

    Attributes:
        digests: The blobs that it stands for: neighbours of one block, lowest first.
        from_digests: The blobs of the held version that they are rebuilt from, from the base up.
        delta_digest, delta_size_bytes: The delta, a blob as well.
    """

    digests: tuple[str, ...]
    from_digests: tuple[str, ...]
    delta_digest: str
    delta_size_bytes: int


class ServerLink(Protocol):
    """Few questions. Every failure of the way is a LinkError; what the server refuses is what it says."""

    async def enrol(self, device_id: str, enrolment_key: bytes) -> Broker:
        """Make the device known; where its broker is.

        Raises:
            ConflictError: Another key holds the id.
            LinkError: The server is away.
        """

    async def manifest(self, digest: str) -> bytes:
        """The frame that holds a canonical manifest, not verified.

        Raises:
            NotFoundError: No version has it.
            LinkError: The server is away.
        """

    def blobs(self, wanted: Sequence[Wanted]) -> AsyncGenerator[Chunk, None]:
        """Many blobs on one stream, in the order given; not verified, may end early or never.

        Closing the generator ends the transfer.

        Raises:
            LinkError: The server is away, or the stream broke.
        """

    async def offer_deltas(
        self, wanted: str, held: str, blobs_per_block: Sequence[int], present_per_block: Sequence[int]
    ) -> Sequence[DeltaOffer]:
        """Which blobs can be had as deltas; none from a server that knows no deltas.

        Args:
            wanted: Digest of the manifest of the version that is wanted.
            held: Digest of that of the version that is here.
            blobs_per_block: How many blobs of each block are wanted, in the wanted manifest's order.
            present_per_block: How many of them, from the base up, no delta is wanted for.

        Raises:
            NotFoundError: The server has one of the versions no more.
            LinkError: The server is away, or takes too long.
        """
