"""PublishService: how a model enters the registry."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from typing import Any, Final

import grpc
from nestfleet.v1 import publish_pb2, publish_pb2_grpc

from common.channel import MAX_CHUNK_BYTES
from common.errors import InvalidInputError
from server.delivery.order import DEFAULT_ROUNDING, Part, PushOrder
from server.delivery.progress import Progress
from server.delivery.publish import Publishing
from server.quantize.order import MAX_PINS, Pin
from server.rpc.convert import version_message

_PARTS: Final[dict[int, Part]] = {
    publish_pb2.PUBLISH_PART_GRAPH: Part.GRAPH,
    publish_pb2.PUBLISH_PART_WEIGHTS: Part.WEIGHTS,
    publish_pb2.PUBLISH_PART_SAMPLES: Part.SAMPLES,
    publish_pb2.PUBLISH_PART_CALIBRATION: Part.CALIBRATION,
    publish_pb2.PUBLISH_PART_EVALUATION: Part.EVALUATION,
}


class PublishServicer(publish_pb2_grpc.PublishServiceServicer):
    """Hands pushes to ``Publishing``.

    Args:
        publishing: Does the work.
        block_size_bytes: Upper bound of a block's largest blob where a push names none.
    """

    def __init__(self, publishing: Publishing, *, block_size_bytes: int) -> None:
        self._publishing = publishing
        self._block_size_bytes = block_size_bytes

    async def Publish(
        self,
        request_iterator: AsyncIterator[publish_pb2.PublishRequest],
        context: grpc.aio.ServicerContext[Any, Any],
    ) -> AsyncIterator[publish_pb2.PublishResponse]:
        """Progress, then the version."""
        requests = aiter(request_iterator)
        first = await anext(requests, publish_pb2.PublishRequest())
        if first.WhichOneof("message") != "header":
            raise InvalidInputError("A push starts with its header.")
        order = self._order(first.header)
        async with contextlib.aclosing(self._publishing.publish(order, _chunks(requests))) as events:
            async for event in events:
                if isinstance(event, Progress):
                    progress = publish_pb2.PublishProgress(
                        step=event.step, done=event.done, total=event.total
                    )
                    yield publish_pb2.PublishResponse(progress=progress)
                else:
                    yield publish_pb2.PublishResponse(version=version_message(event))

    def _order(self, header: publish_pb2.PublishHeader) -> PushOrder:
        return PushOrder(
            model=header.model,
            levels=tuple(header.levels),
            rounding=header.rounding or DEFAULT_ROUNDING,
            size_bytes={
                Part.GRAPH: header.graph_size_bytes,
                Part.WEIGHTS: header.weights_size_bytes,
                Part.SAMPLES: header.samples_size_bytes,
                Part.CALIBRATION: header.calibration_size_bytes,
                Part.EVALUATION: header.evaluation_size_bytes,
            },
            min_agreement=header.min_agreement,
            block_size_bytes=header.block_size_bytes or self._block_size_bytes,
            refit=header.refit,
            # One too many is enough to be refused; a header has room for a million.
            pins=tuple(Pin(pin.pattern, pin.level) for pin in header.pins[: MAX_PINS + 1]),
            first_last=header.first_last,
            budget_bytes=header.budget_bytes,
            min_fidelity=header.min_fidelity,
            fresh=header.fresh,
        )


async def _chunks(
    requests: AsyncIterator[publish_pb2.PublishRequest],
) -> AsyncIterator[tuple[Part, bytes]]:
    async for request in requests:
        chunk = request.chunk
        if request.WhichOneof("message") != "chunk" or chunk.part not in _PARTS:
            raise InvalidInputError("After its header a push consists of chunks of known parts.")
        if len(chunk.data) > MAX_CHUNK_BYTES:
            raise InvalidInputError(f"A chunk has {len(chunk.data)} bytes; {MAX_CHUNK_BYTES} are allowed.")
        yield _PARTS[chunk.part], chunk.data
