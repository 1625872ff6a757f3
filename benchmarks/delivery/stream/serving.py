"""A process that serves the files: as a nestfleet server, and by plain gRPC beside it.

Run as ``python -m benchmarks.delivery.stream.serving DATA_DIR READY_FILE``.
"""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Final

import grpc
from nestfleet.v1 import delivery_pb2

from common.channel import SERVER_OPTIONS
from common.files import write_atomically
from server.app import running
from server.delivery.stream.ahead import READ_BYTES
from server.settings import load_settings

BARE_METHOD: Final = "/bare.Files/Get"


async def serve(data_dir: Path, ready_file: Path) -> None:
    """Serve until SIGTERM."""
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    bare = grpc.aio.server(options=SERVER_OPTIONS)
    bare.add_generic_rpc_handlers((_Handler(data_dir / "blobs"),))
    port = bare.add_insecure_port("127.0.0.1:0")
    await bare.start()
    settings = load_settings(data_dir=data_dir, listen="127.0.0.1:0", broker_listen="127.0.0.1:0")
    async with running(settings) as addresses:
        ready = {"product": addresses.grpc, "bare": f"127.0.0.1:{port}"}
        write_atomically(ready_file, json.dumps(ready).encode())
        await stop.wait()
    await bare.stop(None)


class _Handler(grpc.GenericRpcHandler):
    """The least that can stream files over gRPC: read a piece, send it, as large as the product's."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def service(self, handler_call_details: Any) -> Any:
        """The one method."""
        if handler_call_details.method != BARE_METHOD:
            return None
        return grpc.unary_stream_rpc_method_handler(
            self._get, None, delivery_pb2.FetchBlobsResponse.SerializeToString
        )

    async def _get(self, request: bytes, context: object) -> AsyncIterator[delivery_pb2.FetchBlobsResponse]:  # noqa: ARG002
        for name in request.decode().splitlines():
            with (self._root / name).open("rb", buffering=0) as file:
                while data := file.read(READ_BYTES):
                    yield delivery_pb2.FetchBlobsResponse(data=data)


if __name__ == "__main__":
    asyncio.run(serve(Path(sys.argv[1]), Path(sys.argv[2])))
