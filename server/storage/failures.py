"""What a foreign failure of the object store means here."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from obstore.exceptions import BaseError, PermissionDeniedError, UnauthenticatedError

from common.errors import CapacityError, ConfigError, LinkError, NotFoundError

_FULL: Final = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


@contextmanager
def converted(digest: str) -> Iterator[None]:
    """Failures inside leave as errors of ours.

    Raises:
        NotFoundError: There is no such blob.
        CapacityError: The store is full.
        ConfigError: The store refuses these credentials.
        LinkError: The store is away, or failed in another way.
    """
    try:
        yield
    except FileNotFoundError as error:
        raise NotFoundError(f"The store holds no blob {digest[:12]}.") from error
    except (PermissionDeniedError, UnauthenticatedError, PermissionError) as error:
        raise ConfigError(
            f"The blob store refuses access: {_first_line(error)}.",
            advice="Check its URL, owner and credentials.",
        ) from error
    except (BaseError, OSError) as error:
        if _is_full(error):
            raise CapacityError(
                "The blob store is full.", advice="Free room, or run `nestfleet gc`, then push again."
            ) from error
        raise LinkError(f"The blob store failed: {_first_line(error)}.") from error


def _is_full(error: Exception) -> bool:
    """The object store has no class of its own for it, but quotes the system's error number."""
    if isinstance(error, OSError) and error.errno in _FULL:
        return True
    return any(f"(os error {number})" in str(error) for number in _FULL)


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0].rstrip(".")
