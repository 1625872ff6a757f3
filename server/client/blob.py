"""One blob of a server's, for an operator's tool."""

from __future__ import annotations

from collections.abc import Iterator
from queue import SimpleQueue

from nestfleet.v1 import delivery_pb2, delivery_pb2_grpc

from common.digest import to_wire
from common.rpc_status import from_code


def fetch(
    delivery: delivery_pb2_grpc.DeliveryServiceStub, digest: str, *, limit_bytes: int, seconds: float
) -> bytes:
    """The bytes of a blob, not verified; little more than a limit of them, whatever the server sends.

    Raises:
        RpcError: The call failed, or took longer than ``seconds``.
        Error: What the server says about the blob.
    """
    words: SimpleQueue[delivery_pb2.FetchBlobsRequest | None] = SimpleQueue()
    words.put(delivery_pb2.FetchBlobsRequest(want=[delivery_pb2.WantedBlob(digest=to_wire(digest))]))
    requests: Iterator[delivery_pb2.FetchBlobsRequest] = iter(words.get, None)
    stream = delivery.FetchBlobs(requests, timeout=seconds)
    received = bytearray()
    try:
        for part in stream:
            received += part.data
            if part.error_code:
                raise from_code(part.error_code, part.error_detail)
            if part.end or len(received) > limit_bytes:
                break
            words.put(delivery_pb2.FetchBlobsRequest(taken_bytes=len(received)))
    finally:
        words.put(None)
        stream.cancel()
    return bytes(received)
