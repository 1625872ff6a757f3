"""The blob store port: immutable bytes under their SHA-256. One contract suite holds for every form of it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class StoredBlob:
    """A blob as the store lists it.

    Attributes:
        digest: SHA-256 of the bytes, 64 hex digits.
        size_bytes: How many there are.
        modified_unix_ms: When they were put last, by the store's clock.
    """

    digest: str
    size_bytes: int
    modified_unix_ms: int


@dataclass(frozen=True, slots=True)
class BlobSlice:
    """Some of a blob's bytes.

    Attributes:
        data: The bytes.
        size_bytes: How many the whole blob has.
    """

    data: bytes
    size_bytes: int


class BlobStore(Protocol):
    """Holds blobs; safe to use from several threads and by several processes at once.

    Every method raises InvalidInputError for a digest that is none, and LinkError when the store is away.
    """

    def put(self, digest: str, data: bytes) -> bool:
        """The blob is stored whole, and counts as put now even where it was there before.

        Returns:
            Whether it is new.

        Raises:
            IntegrityError: The bytes do not have this digest; nothing was stored.
            CapacityError: The store is full.
            ConfigError: The store can only be read, refuses the credentials, or is not there at all.
        """

    def size_bytes(self, digest: str) -> int:
        """How many bytes the blob has.

        Raises:
            NotFoundError: There is no such blob.
        """

    def read(self, digest: str) -> bytes:
        """The blob, verified.

        Raises:
            NotFoundError: There is no such blob.
            IntegrityError: The store holds other bytes under this name.
        """

    def slice(self, digest: str, *, offset_bytes: int, limit_bytes: int) -> BlobSlice:
        """The bytes from an offset on, up to a limit; not verified. At the end there are none.

        Raises:
            NotFoundError: There is no such blob.
            InvalidInputError: The offset lies outside the blob, or the limit allows nothing.
        """

    def slice_at_once(self, digest: str, *, offset_bytes: int, limit_bytes: int) -> BlobSlice | None:
        """What ``slice`` gives, where the bytes are in memory; None where a disk or another machine has them.

        For an event loop, which must not wait. None as well for whatever ``slice`` would raise.
        """

    def sign(self, digests: Sequence[str], *, seconds: int) -> Sequence[str]:
        """URLs that give the blobs to whoever has them, for so long; in the order of the digests.

        A blob need not be there. Nothing at all where the store cannot sign. Each URL is a secret.
        """

    def delete(self, digest: str) -> None:
        """The blob is not there; it need not have been."""

    def list(self) -> Iterator[StoredBlob]:
        """Every blob, in no particular order. Files that are none of the store's are passed over."""

    def modified_unix_ms(self, digest: str) -> int:
        """When the blob was put last, by the store's clock.

        Raises:
            NotFoundError: There is no such blob.
        """

    def remove_leftovers(self, *, older_than_unix_ms: int) -> int:
        """Unfinished files of writers that died are gone; gives the bytes freed."""
