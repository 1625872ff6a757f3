"""The publish stream from the client's side: one header, the parts, and the server's progress in return."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeAlias

import grpc
from nestfleet.v1 import catalog_pb2, publish_pb2, publish_pb2_grpc

from common.channel import MAX_CHUNK_BYTES
from common.errors import Error, InvalidInputError, LinkError
from server.client.connection import Connection
from server.client.publication import Publication

Progress: TypeAlias = Callable[[str, int, int], None]
"""Called with a step, what is done of it, and the whole of it."""


@dataclass(frozen=True, slots=True)
class Parts:
    """The files that make a model: see ``PublishPart``. None: an optional part that is absent."""

    graph: Path
    weights: Path
    samples: Path
    calibration: Path | None = None
    evaluation: Path | None = None

    def in_order(self) -> Iterator[tuple[publish_pb2.PublishPart.ValueType, Path]]:
        """The parts that there are, as the stream has them."""
        for part, path in (
            (publish_pb2.PUBLISH_PART_GRAPH, self.graph),
            (publish_pb2.PUBLISH_PART_WEIGHTS, self.weights),
            (publish_pb2.PUBLISH_PART_SAMPLES, self.samples),
            (publish_pb2.PUBLISH_PART_CALIBRATION, self.calibration),
            (publish_pb2.PUBLISH_PART_EVALUATION, self.evaluation),
        ):
            if path is not None:
                yield part, path


@dataclass(slots=True)
class _Requests:
    """What is sent. Runs in a thread of gRPC, so a failure is kept for the caller instead of raised there."""

    header: publish_pb2.PublishHeader
    parts: Parts
    failure: OSError | None = field(default=None)

    def __iter__(self) -> Iterator[publish_pb2.PublishRequest]:
        yield publish_pb2.PublishRequest(header=self.header)
        try:
            for part, path in self.parts.in_order():
                yield from self._chunks(part, path)
        except OSError as error:
            self.failure = error

    @staticmethod
    def _chunks(part: publish_pb2.PublishPart.ValueType, path: Path) -> Iterator[publish_pb2.PublishRequest]:
        with path.open("rb") as file:
            while data := file.read(MAX_CHUNK_BYTES):
                yield publish_pb2.PublishRequest(chunk=publish_pb2.PublishChunk(part=part, data=data))


def upload(
    connection: Connection, publication: Publication, parts: Parts, on_progress: Progress
) -> catalog_pb2.Version:
    """The version that the server made of the parts.

    Raises:
        Error: What the server refused it for; nothing is published then.
        LinkError: The connection broke; nothing is published, unless all but the answer was done.
    """
    requests = _Requests(_header(publication, parts), parts)
    stream = publish_pb2_grpc.PublishServiceStub(connection.channel).Publish(iter(requests))
    version = None
    try:
        for response in stream:
            if response.HasField("version"):
                version = response.version
            else:
                on_progress(response.progress.step, response.progress.done, response.progress.total)
    except grpc.RpcError as error:
        raise _refusal(connection, error, requests.failure) from error
    finally:
        stream.cancel()
    if version is None:
        raise _broken(connection)
    return version


def _header(publication: Publication, parts: Parts) -> publish_pb2.PublishHeader:
    return publish_pb2.PublishHeader(
        model=publication.name,
        levels=publication.levels,
        rounding=publication.rounding,
        refit=publication.refit,
        min_agreement=publication.min_agreement,
        block_size_bytes=publication.block_size_bytes,
        graph_size_bytes=_size_bytes(parts.graph),
        weights_size_bytes=_size_bytes(parts.weights),
        samples_size_bytes=_size_bytes(parts.samples),
        calibration_size_bytes=_size_bytes(parts.calibration),
        evaluation_size_bytes=_size_bytes(parts.evaluation),
        pins=[publish_pb2.Pin(pattern=pin.pattern, level=pin.level) for pin in publication.pins],
        first_last=publication.first_last,
        budget_bytes=publication.budget_bytes,
        min_fidelity=publication.min_fidelity,
        fresh=publication.fresh,
    )


def _size_bytes(path: Path | None) -> int:
    try:
        return path.stat().st_size if path else 0
    except OSError as error:
        raise _unreadable(error) from error


def _refusal(connection: Connection, error: grpc.RpcError, failure: OSError | None) -> Error:
    if failure is not None:
        return _unreadable(failure)
    meant = connection.meant_by(error)
    return _broken(connection) if isinstance(meant, LinkError) else meant


def _unreadable(error: OSError) -> InvalidInputError:
    return InvalidInputError(
        f"{error.filename} cannot be read: {error.strerror}.",
        advice="Name a folder that `nestfleet export` wrote.",
    )


def _broken(connection: Connection) -> LinkError:
    return LinkError(
        f"The connection to {connection.server} broke during the push.",
        advice="See `nestfleet models` for whether the version is there; push again if not.",
    )
