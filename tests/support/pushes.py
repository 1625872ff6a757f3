"""Pushes at the level of the wire, so that a test can send what no client of ours would."""

from __future__ import annotations

import asyncio
import functools
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import safetensors.numpy
from nestfleet.v1 import catalog_pb2, publish_pb2, publish_pb2_grpc
from numpy.typing import NDArray

from common.graph import codec
from server.export.files import save_exported
from server.export.pipeline import export_model
from tests.support.models import tiny_net

GRAPH = publish_pb2.PUBLISH_PART_GRAPH
WEIGHTS = publish_pb2.PUBLISH_PART_WEIGHTS
SAMPLES = publish_pb2.PUBLISH_PART_SAMPLES
CALIBRATION = publish_pb2.PUBLISH_PART_CALIBRATION
EVALUATION = publish_pb2.PUBLISH_PART_EVALUATION

Parts = Mapping[publish_pb2.PublishPart.ValueType, bytes]


@functools.cache
def tiny_parts(seed: int = 0, width: int = 8) -> Parts:
    """The parts of a tiny net that a push must have."""
    model, inputs = tiny_net(seed, width=width)
    exported = export_model(model, inputs)
    with tempfile.TemporaryDirectory() as folder:
        save_exported(exported, Path(folder))
        weights = (Path(folder) / "weights.safetensors").read_bytes()
    samples = safetensors.numpy.save({"input/0": inputs[0].numpy()})
    return {GRAPH: codec.to_zstd(exported.graph), WEIGHTS: weights, SAMPLES: samples}


def sample_part(count: int, *, labels: NDArray[Any] | None = None, **changes: NDArray[Any]) -> bytes:
    """A part of samples for the tiny net: ``count`` images; ``changes`` are further arrays, or others."""
    arrays = {"input/0": np.random.default_rng(count).random((count, 1, 8, 8), np.float32)}
    given = {} if labels is None else {"labels": labels}
    part: bytes = safetensors.numpy.save(arrays | given | changes)
    return part


def header_for(parts: Parts, **fields: Any) -> publish_pb2.PublishRequest:
    header: dict[str, Any] = {
        "model": "tiny",
        "levels": (4, 6, 8),
        "graph_size_bytes": len(parts[GRAPH]),
        "weights_size_bytes": len(parts[WEIGHTS]),
        "samples_size_bytes": len(parts[SAMPLES]),
        "calibration_size_bytes": len(parts.get(CALIBRATION, b"")),
        "evaluation_size_bytes": len(parts.get(EVALUATION, b"")),
    }
    return publish_pb2.PublishRequest(header=publish_pb2.PublishHeader(**(header | fields)))


def chunks_of(parts: Parts, *, chunk_bytes: int = 64 * 1024) -> Iterator[publish_pb2.PublishRequest]:
    for part, data in parts.items():
        for start in range(0, len(data), chunk_bytes):
            chunk = publish_pb2.PublishChunk(part=part, data=data[start : start + chunk_bytes])
            yield publish_pb2.PublishRequest(chunk=chunk)


async def responses(address: str, *requests: publish_pb2.PublishRequest) -> list[publish_pb2.PublishResponse]:
    """What the server says to a stream of exactly these requests.

    Uses the synchronous client in a thread: grpc.aio loses the status of a call refused while it sends.
    """

    def talk() -> list[publish_pb2.PublishResponse]:
        with grpc.insecure_channel(address) as channel:
            stub = publish_pb2_grpc.PublishServiceStub(channel)
            return list(stub.Publish(iter(requests), timeout=60))

    return await asyncio.to_thread(talk)


async def push(address: str, parts: Parts | None = None, **fields: Any) -> catalog_pb2.Version:
    """The version that a sound push gives."""
    parts = parts or tiny_parts()
    answers = await responses(address, header_for(parts, **fields), *chunks_of(parts))
    return answers[-1].version
