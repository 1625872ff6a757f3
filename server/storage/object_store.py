"""Which object store a URL means: a folder, S3 and its kin, or memory."""

from __future__ import annotations

from pathlib import Path
from typing import Final
from urllib.parse import unquote, urlsplit

from obstore.exceptions import BaseError
from obstore.store import AzureStore, GCSStore, MemoryStore, from_url

from common.errors import ConfigError
from server.storage.folder import FolderBlobStore
from server.storage.objects import ObjectBlobStore
from server.storage.port import BlobStore
from server.storage.s3 import REQUEST_SECONDS, open_s3

_ADVICE: Final = "Use file:///FOLDER, s3://BUCKET/PREFIX, or memory:// for a trial."


def open_blob_store(url: str, *, request_seconds: float = REQUEST_SECONDS) -> BlobStore:
    """The store at ``file:///FOLDER``, ``s3://BUCKET/PREFIX``, another URL that obstore knows, or ``memory://``.

    Args:
        url: Where; see ``open_s3`` for what an S3 URL may say.
        request_seconds: Longest wait for one answer of an S3-compatible store.

    Raises:
        ConfigError: The URL names no store.
    """
    parts = urlsplit(url)
    if parts.scheme == "file":
        if parts.netloc not in {"", "localhost"} or not parts.path:
            raise ConfigError(f"{url!r} names no folder on this machine.", advice=_ADVICE)
        return FolderBlobStore(Path(unquote(parts.path)))
    if parts.scheme == "memory":
        return ObjectBlobStore(MemoryStore())
    if parts.scheme in {"s3", "s3a"}:
        return open_s3(url, request_seconds=request_seconds)
    try:
        store = from_url(url)
    except (BaseError, ValueError) as error:
        # Not repeated as it is: somebody may have written a password into it.
        raise ConfigError(
            f"A URL of {parts.scheme or 'no'} kind names no blob store.", advice=_ADVICE
        ) from error
    return ObjectBlobStore(store, signer=store if isinstance(store, AzureStore | GCSStore) else None)
