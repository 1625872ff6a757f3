"""Offers of deltas as they come from the server, held within bounds."""

from __future__ import annotations

import asyncio
from typing import Any, Final

import grpc
from nestfleet.v1 import delivery_pb2

from common.digest import from_wire
from common.errors import InvalidInputError, LinkError
from common.nesting import MAX_LEVEL
from device_agent.link.server import DeltaOffer

_MOST_BLOBS: Final = MAX_LEVEL  # of a block: one for each level


async def collect_offers(
    call: grpc.aio.UnaryStreamCall[Any, delivery_pb2.OfferDeltasResponse],
    *,
    most: int,
    silence_seconds: float,
) -> list[DeltaOffer]:
    """All offers of a stream.

    Args:
        call: The stream.
        most: More than this makes no sense.
        silence_seconds: Longest wait for the next answer.

    Raises:
        LinkError: The server sends what makes no sense.
        TimeoutError: It falls silent.
        AioRpcError: The call fails.
    """
    offers: list[DeltaOffer] = []
    while True:
        async with asyncio.timeout(silence_seconds):
            answer = await call.read()
        if not isinstance(answer, delivery_pb2.OfferDeltasResponse):
            return offers
        if len(offers) + len(answer.offers) > most:
            raise LinkError(f"The server offers more than the {most} deltas that were asked for.")
        offers += map(_offer, answer.offers)


def _offer(message: delivery_pb2.DeltaOffer) -> DeltaOffer:
    try:
        return DeltaOffer(
            tuple(map(from_wire, message.digests[:_MOST_BLOBS])),
            tuple(map(from_wire, message.from_digests[:_MOST_BLOBS])),
            from_wire(message.delta_digest),
            message.delta_size_bytes,
        )
    except InvalidInputError as error:
        raise LinkError("The server offers a delta without a name.") from error
