"""Collection of blobs that no version names.

A push stores its blobs before the version that names them, so a young blob may be wanted in a moment: only
blobs older than a grace period go, and each is looked at once more right before it is deleted.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from common.errors import NotFoundError
from server.storage.port import BlobStore


class BlobNames(Protocol):
    """Who knows what versions name."""

    def named_blobs(self) -> frozenset[str]:
        """Every blob that a version names."""

    def names_blob(self, digest: str) -> bool:
        """Whether a version names the blob now."""


@dataclass(frozen=True, slots=True)
class Collected:
    """What went, or would go: blobs, and the bytes that this frees."""

    blobs: int
    freed_bytes: int


def collect(
    store: BlobStore,
    names: BlobNames,
    *,
    grace_seconds: float,
    now_unix_ms: int,
    dry_run: bool = False,
) -> Collected:
    """Unnamed blobs put longer ago than the grace period are gone, and so are leftovers of dead writers.

    Args:
        store: Where the blobs are.
        names: The registry, or what stands for it.
        grace_seconds: Longer than a push takes from its first blob to its version.
        now_unix_ms: The time now, by the store's clock.
        dry_run: Count only, delete nothing.

    Raises:
        LinkError: The store or the registry is away; what was deleted before is unnamed anyway.
    """
    put_before_unix_ms = now_unix_ms - int(grace_seconds * 1000)
    named = names.named_blobs()
    blobs = freed_bytes = 0
    for blob in store.list():
        if blob.modified_unix_ms > put_before_unix_ms or blob.digest in named:
            continue
        if not dry_run and not _deleted(store, names, blob.digest, put_before_unix_ms):
            continue
        blobs += 1
        freed_bytes += blob.size_bytes
    if not dry_run:
        freed_bytes += store.remove_leftovers(older_than_unix_ms=put_before_unix_ms)
    return Collected(blobs, freed_bytes)


def _deleted(store: BlobStore, names: BlobNames, digest: str, put_before_unix_ms: int) -> bool:
    """Deletes unless a push has named the blob, or put it again, since it was listed."""
    try:
        if names.names_blob(digest) or store.modified_unix_ms(digest) > put_before_unix_ms:
            return False
    except NotFoundError:
        return False
    store.delete(digest)
    return True
