from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

import pytest

from common.digest import sha256_hex
from common.errors import InvalidInputError, LinkError
from server.delivery.urls import MAX_DIGESTS, UrlSigning

NAMED, ALSO, UNKNOWN = (sha256_hex(text) for text in (b"named", b"also named", b"unknown"))


class Names:
    def named_among(self, digests: Collection[str]) -> frozenset[str]:
        return frozenset(digests) & {NAMED, ALSO}


class Store:
    """Signs, and remembers what."""

    def __init__(self, *, can_sign: bool = True, away: bool = False) -> None:
        self.can_sign, self.away = can_sign, away
        self.asked: list[tuple[list[str], int]] = []

    def sign(self, digests: Sequence[str], *, seconds: int) -> list[str]:
        self.asked.append((list(digests), seconds))
        if self.away:
            raise LinkError("No credentials can be had.")
        return [f"https://store/{digest}?signature=secret" for digest in digests] if self.can_sign else []


class Clock:
    def unix_ms(self) -> int:
        return 5_000_000

    def monotonic_seconds(self) -> float:
        return 0.0


def signing(store: Any, *, seconds: int = 600) -> UrlSigning:
    return UrlSigning(Names(), store, Clock(), seconds=seconds)


async def test_what_a_version_names_is_signed_and_nothing_else() -> None:
    store = Store()
    signed = await signing(store).urls([UNKNOWN, ALSO, NAMED, ALSO])
    assert [one.digest for one in signed] == [ALSO, NAMED]
    assert all(one.digest in one.url for one in signed)
    assert {one.expires_unix_ms for one in signed} == {5_600_000}
    assert store.asked == [([ALSO, NAMED], 600)]


async def test_nothing_is_signed_unless_the_operator_wants_it() -> None:
    store = Store()
    assert await signing(store, seconds=0).urls([NAMED]) == []
    assert store.asked == []


@pytest.mark.parametrize("store", [Store(can_sign=False), Store(away=True)])
async def test_a_store_that_cannot_sign_leaves_devices_to_the_server(store: Store) -> None:
    assert await signing(store).urls([NAMED]) == []


async def test_only_so_many_at_once() -> None:
    assert len(await signing(Store()).urls([NAMED] * MAX_DIGESTS)) == 1
    with pytest.raises(InvalidInputError, match="1025"):
        await signing(Store(), seconds=0).urls([NAMED] * (MAX_DIGESTS + 1))


async def test_a_url_is_not_shown_where_its_holder_is() -> None:
    (one,) = await signing(Store()).urls([NAMED])
    assert "secret" in one.url
    assert "secret" not in repr(one)
