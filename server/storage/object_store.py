"""Which object store a URL means: a folder, S3 and its kin, or memory."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import unquote, urlsplit

from obstore.exceptions import BaseError
from obstore.store import MemoryStore, from_url

from common.errors import ConfigError
from server.storage.folder import FolderBlobStore
from server.storage.objects import ObjectBlobStore
from server.storage.port import BlobStore

_ADVICE = "Use file:///FOLDER, s3://BUCKET/PREFIX, or memory:// for a trial."


def open_blob_store(url: str) -> BlobStore:
    """The store at ``file:///FOLDER``, ``s3://BUCKET/PREFIX``, another URL that obstore knows, or ``memory://``.

    Credentials of an S3-compatible store come from the AWS_* variables, as its other tools read them.

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
    try:
        return ObjectBlobStore(from_url(url))
    except (BaseError, ValueError) as error:
        raise ConfigError(f"{url!r} names no blob store.", advice=_ADVICE) from error
