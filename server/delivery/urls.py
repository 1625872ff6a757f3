"""Where blobs can be had without passing through this server: signed URLs, for what a version names."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import Final, Protocol

from common.clock import Clock
from common.errors import Error, InvalidInputError
from server.storage.port import BlobStore

MAX_DIGESTS: Final = 1024
_log = logging.getLogger(__name__)


class NamedBlobs(Protocol):
    """Who knows what may be handed out."""

    def named_among(self, digests: Collection[str]) -> frozenset[str]:
        """Those of the blobs that a version names."""


@dataclass(frozen=True, slots=True)
class SignedUrl:
    """A URL that gives one blob, to whoever has it: a secret.

    Attributes:
        digest: SHA-256 of the blob, 64 hex digits.
        url: Answers GET with ranges.
        expires_unix_ms: When it stops to, by this server's clock.
    """

    digest: str
    url: str = field(repr=False)
    expires_unix_ms: int


class UrlSigning:
    """Signs for devices.

    Args:
        names: Says which blobs there are for them.
        store: Signs; a store that cannot gives no URLs.
        clock: Tells when URLs expire.
        seconds: How long they hold; 0: none are given.
    """

    def __init__(self, names: NamedBlobs, store: BlobStore, clock: Clock, *, seconds: int) -> None:
        self._names = names
        self._store = store
        self._clock = clock
        self._seconds = seconds

    async def urls(self, digests: Sequence[str]) -> list[SignedUrl]:
        """A URL for each blob that a version names; none where the operator or the store does not.

        Raises:
            InvalidInputError: There are more digests than one call may ask for.
            LinkError: The registry is away.
        """
        if len(digests) > MAX_DIGESTS:
            raise InvalidInputError(f"{len(digests)} URLs at once; at most {MAX_DIGESTS} can be asked for.")
        if not self._seconds or not digests:
            return []
        return await asyncio.to_thread(self._signed, list(dict.fromkeys(digests)))

    def _signed(self, digests: Sequence[str]) -> list[SignedUrl]:
        named = self._names.named_among(digests)
        known = [digest for digest in digests if digest in named]
        # The time before signing: a URL never holds for less than is said of it.
        expires_unix_ms = self._clock.unix_ms() + self._seconds * 1000
        try:
            urls = self._store.sign(known, seconds=self._seconds)
        except Error as error:
            # The blobs come through this server then; that it costs bandwidth is the operator's to know.
            _log.warning("No URLs are signed: %s", error)
            return []
        return [SignedUrl(digest, url, expires_unix_ms) for digest, url in zip(known, urls, strict=False)]
