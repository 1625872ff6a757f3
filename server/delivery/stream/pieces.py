"""What a stream reads ahead: pieces of blobs, and where they come from."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Protocol

from common.errors import Error
from server.delivery.stream.queue import Want
from server.storage.port import BlobSlice


@dataclass(frozen=True, slots=True)
class Place:
    """From where on a blob is to be read."""

    digest: str
    offset_bytes: int


class Shelf(Protocol):
    """What devices may have."""

    async def offered(self, digests: Collection[str]) -> frozenset[str]:
        """Those of at most 1024 digests that may be handed out."""

    def read_at_once(self, places: Sequence[Place], *, limit_bytes: int) -> list[BlobSlice | Error]:
        """As ``read``, as far as nothing has to be waited for; nothing where the first place has to be."""

    async def read(self, places: Sequence[Place], *, limit_bytes: int) -> list[BlobSlice | Error]:
        """What is at the first places, at least one of them, and together no more than a limit of bytes.

        An error stands for a blob that cannot be had.

        Raises:
            LinkError: The store is away.
        """


@dataclass(frozen=True, slots=True)
class Piece:
    """Bytes of a blob that are in memory.

    Attributes:
        want: The blob.
        data: Maybe none, where it ends.
        offset_bytes: Where ``data`` starts in it.
        end: Nothing more is read of it.
        error: With ``end``: why it cannot be had.
    """

    want: Want
    data: bytes
    offset_bytes: int
    end: bool
    error: Error | None = None


@dataclass(frozen=True, slots=True)
class Part:
    """What goes into one message; as in ``FetchBlobsResponse``."""

    index: int
    data: bytes
    offset_bytes: int
    end: bool
    error: Error | None = None
