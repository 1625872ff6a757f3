"""Signed URLs of some blobs, and how to come by them. A URL is a secret: it is shown nowhere."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Final, Protocol

from common.errors import Error
from device_agent.link.server import ServerLink
from device_agent.link.url_body import UrlExpiredError

MAX_URL_LENGTH: Final = 8192


class SigningLink(ServerLink, Protocol):
    """A way to a server that may know where its store has the blobs."""

    async def blob_urls(self, digests: Sequence[str]) -> Mapping[str, str]:
        """A URL by digest for those that can be had past the server; none for one that does not offer it.

        Raises:
            Error: The server is away, or of an earlier release.
        """


def usable(urls: Mapping[str, str], digests: Sequence[str]) -> dict[str, str]:
    """Those URLs that were asked for and that lead to a web server."""
    return {
        digest: url
        for digest, url in urls.items()
        if digest in digests and url.startswith(("https://", "http://")) and len(url) <= MAX_URL_LENGTH
    }


class SignedUrls:
    """The URLs of a few blobs; asked for anew when the store honours one no more, but not twice in vain."""

    def __init__(self, link: SigningLink, digests: Sequence[str]) -> None:
        self._link = link
        self._digests = digests
        self._urls: dict[str, str] = {}
        self._in_vain = False
        self._asking = asyncio.Lock()

    def __contains__(self, digest: str) -> bool:
        return digest in self._urls

    def __getitem__(self, digest: str) -> str:
        return self._urls[digest]

    async def ask(self) -> bool:
        """The server has been asked; whether it knows a way for any of the blobs."""
        self._urls |= usable(await self._link.blob_urls(self._digests), self._digests)
        return bool(self._urls)

    def worked(self) -> None:
        """The store has honoured one."""
        self._in_vain = False

    async def renewed(self, digest: str, refused: str) -> str:
        """Another URL for a blob than the one that was refused.

        Raises:
            UrlExpiredError: There is none.
        """
        async with self._asking:
            if self._urls.get(digest) == refused and not self._in_vain:
                self._in_vain = True
                try:
                    await self.ask()
                except Error as error:
                    raise UrlExpiredError(f"No new URL can be had: {error.message}") from error
        if self._urls.get(digest, refused) == refused:
            raise UrlExpiredError("The blob store honours no URL of this blob.")
        return self._urls[digest]
