"""Blobs in anything that obstore reaches."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
from datetime import timedelta
from typing import TYPE_CHECKING

import obstore
from obstore.exceptions import AlreadyExistsError, PermissionDeniedError
from obstore.store import AzureStore, GCSStore, ObjectStore, S3Store

from common.digest import is_digest, sha256_hex
from common.errors import IntegrityError, InvalidInputError, LinkError
from server.storage.failures import converted
from server.storage.port import BlobSlice, StoredBlob

if TYPE_CHECKING:  # obstore has this name for type checkers alone
    from obstore import ObjectMeta


class ObjectBlobStore:
    """Blobs under ``aa/bb/DIGEST`` of one object store.

    Args:
        store: Where they are.
        signer: The same place under the address that signed URLs lead to; None where it cannot sign.
    """

    def __init__(self, store: ObjectStore, *, signer: AzureStore | GCSStore | S3Store | None = None) -> None:
        self._store = store
        self._signer = signer

    def put(self, digest: str, data: bytes) -> bool:
        """The blob is stored whole; a present one gets a new age, and is healed where it was damaged."""
        path = blob_path(digest)
        actual = sha256_hex(data)
        if actual != digest:
            raise IntegrityError(
                f"Bytes for blob {digest[:12]} have another digest.", expected=digest, actual=actual
            )
        with converted(digest, writing=True):
            if self._is_there(path):
                self._renew(path, data)
                return False
            try:
                obstore.put(self._store, path, data, mode="create", use_multipart=False)
            except AlreadyExistsError:
                self._renew(path, data)
                return False
            self._make_durable(path)
        return True

    def size_bytes(self, digest: str) -> int:
        """How many bytes the blob has."""
        with converted(digest):
            return int(obstore.head(self._store, blob_path(digest))["size"])

    def modified_unix_ms(self, digest: str) -> int:
        """When the blob was put last."""
        with converted(digest):
            return _unix_ms(obstore.head(self._store, blob_path(digest)))

    def read(self, digest: str) -> bytes:
        """The blob, verified."""
        with converted(digest):
            data = obstore.get(self._store, blob_path(digest)).bytes().to_bytes()
        actual = sha256_hex(data)
        if actual != digest:
            raise IntegrityError(
                f"The store holds other bytes under blob {digest[:12]}.",
                expected=digest,
                actual=actual,
                advice="Push the model again: that writes its blobs anew.",
            )
        return data

    def slice(self, digest: str, *, offset_bytes: int, limit_bytes: int) -> BlobSlice:
        """The bytes from an offset on, up to a limit: one request, but at the blob's end."""
        path = blob_path(digest)
        check_slice(offset_bytes, limit_bytes)
        wanted = (offset_bytes, offset_bytes + limit_bytes)
        try:
            with converted(digest):
                found = obstore.get(self._store, path, options={"range": wanted})
                return BlobSlice(found.bytes().to_bytes(), int(found.meta["size"]))
        except LinkError:
            # A range that begins at the end, or beyond it, fails like a store that is away.
            size_bytes = self.size_bytes(digest)
            if offset_bytes < size_bytes:
                raise
        return empty_slice(offset_bytes, size_bytes)

    def slice_at_once(self, digest: str, *, offset_bytes: int, limit_bytes: int) -> BlobSlice | None:  # noqa: ARG002
        """None: nobody knows what an object store has in memory."""
        return None

    def delete(self, digest: str) -> None:
        """The blob is not there."""
        with converted(digest, writing=True), suppress(FileNotFoundError):
            obstore.delete(self._store, blob_path(digest))

    def list(self) -> Iterator[StoredBlob]:
        """Every blob; names that are no digest in its place are passed over."""
        with converted(""):
            for batch in obstore.list(self._store):
                for meta in batch:
                    digest = meta["path"].rpartition("/")[2]
                    if is_digest(digest) and meta["path"] == blob_path(digest):
                        yield StoredBlob(digest, int(meta["size"]), _unix_ms(meta))

    def sign(self, digests: Sequence[str], *, seconds: int) -> Sequence[str]:
        """A URL for each of the blobs, whether it is there or not; none where the store cannot sign."""
        paths = [blob_path(digest) for digest in digests]
        if self._signer is None or not paths:
            return []
        with converted(""):
            return obstore.sign(self._signer, "GET", paths, timedelta(seconds=seconds))

    def _is_there(self, path: str) -> bool:
        """Asked first, as a refusal costs an upload; without the right to list, S3 refuses to say no."""
        try:
            obstore.head(self._store, path)
        except (FileNotFoundError, PermissionDeniedError):
            return False
        return True

    def remove_leftovers(self, *, older_than_unix_ms: int) -> int:  # noqa: ARG002
        """None: an object store shows no unfinished object."""
        return 0

    def _renew(self, path: str, data: bytes) -> None:
        obstore.put(self._store, path, data, mode="overwrite", use_multipart=False)

    def _make_durable(self, path: str) -> None:
        """An object store's put is durable when it returns."""


def blob_path(digest: str) -> str:
    """Where a blob lies below the store's root.

    Raises:
        InvalidInputError: The text is no digest.
    """
    if not is_digest(digest):
        raise InvalidInputError(f"{digest[:80]!r} is no SHA-256 digest.")
    return f"{digest[:2]}/{digest[2:4]}/{digest}"


def check_slice(offset_bytes: int, limit_bytes: int) -> None:
    """Refuse a slice of no blob.

    Raises:
        InvalidInputError: The offset is negative, or the limit allows nothing.
    """
    if offset_bytes < 0 or limit_bytes < 1:
        raise InvalidInputError(
            "A slice begins at the blob's first byte or later, and has room for one byte."
        )


def empty_slice(offset_bytes: int, size_bytes: int) -> BlobSlice:
    """What follows the last byte.

    Raises:
        InvalidInputError: The offset lies beyond the end.
    """
    if offset_bytes > size_bytes:
        raise InvalidInputError(f"The blob has {size_bytes} bytes; there is no byte {offset_bytes}.")
    return BlobSlice(b"", size_bytes)


def _unix_ms(meta: ObjectMeta) -> int:
    return int(meta["last_modified"].timestamp() * 1000)
