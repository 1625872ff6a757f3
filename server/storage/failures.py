"""What a foreign failure of the object store means here."""

from __future__ import annotations

import errno
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from obstore.exceptions import BaseError, PermissionDeniedError, UnauthenticatedError

from common.errors import CapacityError, ConfigError, Error, LinkError, NotFoundError

_FULL: Final = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_READ_ONLY: Final = (errno.EROFS,)
_STATUS: Final = re.compile(r"status code: (\d{3}[A-Za-z ]*)")
_INSUFFICIENT_STORAGE: Final = "status code: 507"
# What obstore says where it was asked for http:// and may speak https:// only.
_PLAIN_HTTP: Final = "HTTP error: builder error"
_LONGEST: Final = 200


@contextmanager
def converted(digest: str, *, writing: bool = False) -> Iterator[None]:
    """Failures inside leave as errors of ours; a full, refusing or absent store is told apart.

    Args:
        digest: The blob that they concern.
        writing: Whether the store was asked to change something.

    Raises:
        NotFoundError: There is no such blob.
        CapacityError: The store is full.
        ConfigError: The store refuses these credentials, can only be read, or has no such bucket.
        LinkError: The store is away, or failed in another way.
    """
    try:
        yield
    except (BaseError, OSError) as error:
        raise _meant(error, digest, writing=writing) from error


def _meant(error: BaseError | OSError, digest: str, *, writing: bool) -> Error:
    text = str(error)
    if isinstance(error, FileNotFoundError):
        return _absence(digest, bucket=writing or "NoSuchBucket" in text)
    refused = isinstance(error, PermissionDeniedError | UnauthenticatedError | PermissionError)
    if refused or _numbered(error, _READ_ONLY):
        return _refusal(error, writing=writing)
    if _numbered(error, _FULL) or _INSUFFICIENT_STORAGE in text:
        return CapacityError(
            "The blob store is full.", advice="Free room, or run `nestfleet gc`, then push again."
        )
    if _PLAIN_HTTP in text:
        return ConfigError(
            "The blob store's endpoint is plain HTTP.",
            advice="Set AWS_ALLOW_HTTP=true, or name the endpoint in blobs_url, if that is meant.",
        )
    return LinkError(f"The blob store failed: {_reason(error)}.", advice="Try again later.")


def _absence(digest: str, *, bucket: bool) -> Error:
    if bucket:
        return ConfigError("The blob store has no such bucket.", advice="Make it, or correct blobs_url.")
    return NotFoundError(f"The store holds no blob {digest[:12]}.")


def _refusal(error: BaseError | OSError, *, writing: bool) -> ConfigError:
    if writing:
        return ConfigError(
            f"The blob store can only be read: {_reason(error)}.",
            advice="Mount it for writing, or let the server's credentials put and delete objects.",
        )
    return ConfigError(
        f"The blob store refuses access: {_reason(error)}.", advice="Check its URL, owner and credentials."
    )


def _numbered(error: BaseError | OSError, numbers: tuple[int, ...]) -> bool:
    """The object store has no classes of its own for these, but quotes the system's error number."""
    if isinstance(error, OSError) and error.errno in numbers:
        return True
    return any(f"(os error {number})" in str(error) for number in numbers)


def _reason(error: BaseError | OSError) -> str:
    """The failure without the store's address, which is nobody's business on the other side of a call."""
    status = _STATUS.search(str(error))
    if status:
        return f"it answered {status[1].strip()}"
    first = (str(error).splitlines() or [type(error).__name__])[0]
    return first.rpartition(" - ")[2].strip().rstrip(".")[:_LONGEST]
