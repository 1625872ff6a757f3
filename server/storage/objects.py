"""Blobs in anything that obstore reaches."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import timedelta
from typing import TYPE_CHECKING, Final, TypeVar, TypeVarTuple

import obstore
from obstore.exceptions import AlreadyExistsError, PermissionDeniedError
from obstore.store import AzureStore, GCSStore, ObjectStore, S3Store

from common.digest import is_digest, sha256_hex
from common.errors import IntegrityError, InvalidInputError
from server.storage.failures import converted
from server.storage.port import StoredBlob

if TYPE_CHECKING:  # obstore has this name for type checkers alone
    from obstore import ObjectMeta

_READERS: Final = 16  # reads at once; more streams take turns, chunk by chunk

Arguments = TypeVarTuple("Arguments")
Result = TypeVar("Result")


class ObjectBlobStore:
    """Blobs under ``aa/bb/DIGEST`` of one object store.

    Args:
        store: Where they are.
        signer: The same place under the address that signed URLs lead to; None where it cannot sign.
    """

    def __init__(self, store: ObjectStore, *, signer: AzureStore | GCSStore | S3Store | None = None) -> None:
        self._store = store
        self._signer = signer
        self._readers = ThreadPoolExecutor(_READERS, thread_name_prefix="blob-reader")

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

    async def stream(self, digest: str, *, offset_bytes: int, chunk_bytes: int) -> AsyncIterator[bytes]:
        """The bytes from an offset to the end, in chunks."""
        path = blob_path(digest)
        if chunk_bytes < 1:
            raise InvalidInputError("A chunk needs at least one byte.")
        size_bytes = await self._in_thread(self.size_bytes, digest)
        if not 0 <= offset_bytes <= size_bytes:
            raise InvalidInputError(f"Offset {offset_bytes} lies outside a blob of {size_bytes} bytes.")
        for start in range(offset_bytes, size_bytes, chunk_bytes):
            end = min(start + chunk_bytes, size_bytes)
            yield await self._in_thread(self._range, path, start, end)

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

    def _range(self, path: str, start: int, end: int) -> bytes:
        with converted(path.rpartition("/")[2]):
            return obstore.get_range(self._store, path, start=start, end=end).to_bytes()

    async def _in_thread(self, work: Callable[[*Arguments], Result], *arguments: *Arguments) -> Result:
        """Not by obstore's coroutines: their threads outlive the loop, and can abort a process at its end."""
        return await asyncio.get_running_loop().run_in_executor(self._readers, work, *arguments)

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


def _unix_ms(meta: ObjectMeta) -> int:
    return int(meta["last_modified"].timestamp() * 1000)
