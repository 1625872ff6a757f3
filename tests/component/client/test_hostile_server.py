"""The client against servers that break off, lie or are something else."""

from __future__ import annotations

import logging
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest
import zstandard
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from nestfleet.v1 import catalog_pb2, catalog_pb2_grpc, delivery_pb2, delivery_pb2_grpc, publish_pb2
from nestfleet.v1 import publish_pb2_grpc as publish_grpc

from common.errors import Error, IntegrityError, InvalidInputError, LinkError
from common.manifest import BlobRef
from server.client.connection import Connection
from server.client.fleet import FleetClient
from server.client.publication import Publication
from server.client.upload import Parts, upload


@contextmanager
def serving(*, status: int = health_pb2.HealthCheckResponse.SERVING, **servicers: Any) -> Iterator[str]:
    server = grpc.server(ThreadPoolExecutor(4))
    checks = health.HealthServicer()
    checks.set("", status)
    health_pb2_grpc.add_HealthServicer_to_server(checks, server)
    for name, servicer in servicers.items():
        module = {"catalog": catalog_pb2_grpc, "delivery": delivery_pb2_grpc, "publish": publish_grpc}[name]
        getattr(module, f"add_{name.capitalize()}ServiceServicer_to_server")(servicer, server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        server.stop(0).wait()


class Catalog(catalog_pb2_grpc.CatalogServiceServicer):
    """Answers with one fixed version and manifest."""

    def __init__(self, manifest: bytes, stated_bytes: int, digest: bytes = b"d" * 32) -> None:
        self._reply = catalog_pb2.GetVersionResponse(
            version=catalog_pb2.Version(manifest_digest=digest, manifest_size_bytes=stated_bytes),
            manifest_zstd=manifest,
        )

    def GetVersion(self, request: Any, context: Any) -> catalog_pb2.GetVersionResponse:  # noqa: ARG002, N802
        return self._reply

    def ListModels(self, request: Any, context: Any) -> Any: ...  # noqa: N802

    def DeleteVersion(self, request: Any, context: grpc.ServicerContext) -> Any:  # noqa: ARG002, N802
        context.abort(grpc.StatusCode.FAILED_PRECONDITION, "in use")


@pytest.mark.parametrize(
    ("manifest", "stated_bytes", "message"),
    [
        (zstandard.compress(b"{}"), 2, "not the one that the version names"),
        (zstandard.compress(b"x" * 10**6), 2, "yields more"),
        (zstandard.compress(b"x"), 2, "yields less"),
        (b"no frame", 2, "damaged"),
        (b"", 1 << 40, "beyond the limit"),
    ],
)
def test_a_manifest_that_is_not_what_it_says_is_refused(
    manifest: bytes, stated_bytes: int, message: str
) -> None:
    with (
        serving(catalog=Catalog(manifest, stated_bytes)) as address,
        FleetClient(address) as client,
        pytest.raises(IntegrityError, match=message),
    ):
        client.get_version("digits")


def test_a_bare_status_becomes_the_nearest_error() -> None:
    with (
        serving(catalog=Catalog(b"", 0)) as address,
        FleetClient(address) as client,
        pytest.raises(Error, match="in use"),
    ):
        client.delete_version("digits", 1)


class EndlessBlob(delivery_pb2_grpc.DeliveryServiceServicer):
    """Streams for ever."""

    def FetchBlobs(self, requests: Any, context: Any) -> Iterator[delivery_pb2.FetchBlobsResponse]:  # noqa: ARG002, N802
        while True:
            yield delivery_pb2.FetchBlobsResponse(data=b"x" * 100_000)

    def Enrol(self, request: Any, context: Any) -> Any: ...  # noqa: N802

    def GetManifest(self, request: Any, context: Any) -> Any: ...  # noqa: N802

    def GetBlobUrls(self, request: Any, context: Any) -> Any: ...  # noqa: N802

    def OfferDeltas(self, request: Any, context: Any) -> Any: ...  # noqa: N802


def test_an_endless_blob_is_cut() -> None:
    with (
        serving(delivery=EndlessBlob()) as address,
        FleetClient(address) as client,
        pytest.raises(IntegrityError, match="not 10"),
    ):
        client.read_blob(BlobRef("ab" * 32, 10, 10, "raw"))


def test_another_program_behind_the_port_is_recognised() -> None:
    with (
        serving() as address,
        FleetClient(address) as client,
        pytest.raises(InvalidInputError, match="does not know this call"),
    ):
        client.list_devices()


def test_a_server_that_does_not_serve_yet_is_waited_for_by_the_caller() -> None:
    with (
        serving(status=health_pb2.HealthCheckResponse.NOT_SERVING) as address,
        Connection(address) as connection,
        pytest.raises(LinkError, match="does not serve yet"),
    ):
        connection.check()


def test_a_silent_port_is_no_server() -> None:
    with socket.create_server(("127.0.0.1", 0)) as held:
        address = f"127.0.0.1:{held.getsockname()[1]}"
        with Connection(address) as connection, pytest.raises(LinkError, match="did not answer in time"):
            connection.call(
                catalog_pb2_grpc.CatalogServiceStub(connection.channel).ListModels,
                catalog_pb2.ListModelsRequest(),
                seconds=0.3,
            )


class Publish(publish_grpc.PublishServiceServicer):
    """Reads the header, then does what the test asks for."""

    def __init__(self, status: grpc.StatusCode | None) -> None:
        self._status = status

    def Publish(  # noqa: N802
        self, request_iterator: Iterator[publish_pb2.PublishRequest], context: grpc.ServicerContext
    ) -> Iterator[publish_pb2.PublishResponse]:
        next(request_iterator)
        yield publish_pb2.PublishResponse(
            progress=publish_pb2.PublishProgress(step="receive", done=1, total=9)
        )
        if self._status is not None:
            context.abort(self._status, "stopped")


@pytest.mark.parametrize("status", [None, grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED])
def test_a_push_that_breaks_off_says_how_to_find_out(tmp_path: Path, status: grpc.StatusCode | None) -> None:
    with serving(publish=Publish(status)) as address, pytest.raises(LinkError, match="nestfleet models"):
        upload_from(tmp_path, address)


def test_a_file_that_vanishes_during_the_push_is_named(tmp_path: Path, caplog: Any) -> None:
    class Thief(Publish):
        def Publish(self, request_iterator: Any, context: Any) -> Iterator[publish_pb2.PublishResponse]:  # noqa: N802
            for _ in request_iterator:
                (tmp_path / "samples").unlink(missing_ok=True)
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, "cut short")
            yield publish_pb2.PublishResponse()

    with (
        serving(publish=Thief(None)) as address,
        pytest.raises(InvalidInputError, match="samples cannot be read"),
    ):
        upload_from(tmp_path, address)
    assert not [record for record in caplog.records if record.levelno >= logging.ERROR]


def upload_from(folder: Path, address: str) -> None:
    parts = Parts(folder / "graph", folder / "weights", folder / "samples")
    parts.graph.write_bytes(b"g")
    parts.weights.write_bytes(b"w" * (64 << 20))
    parts.samples.write_bytes(b"s")
    with Connection(address) as connection:
        upload(connection, Publication("digits"), parts, lambda *_: None)
