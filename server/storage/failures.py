"""What a foreign failure of the object store means here."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from obstore.exceptions import BaseError, PermissionDeniedError, UnauthenticatedError

from common.errors import CapacityError, ConfigError, LinkError, NotFoundError

_FULL = ("StorageFull", "os error 28", "QuotaExceeded", "os error 122")


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
        if any(sign in str(error) for sign in _FULL):
            raise CapacityError(
                "The blob store is full.", advice="Free room, or run `nestfleet gc`, then push again."
            ) from error
        raise LinkError(f"The blob store failed: {_first_line(error)}.") from error


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0].rstrip(".")
