from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
import safetensors.numpy
from nestfleet.v1 import catalog_pb2, catalog_pb2_grpc, publish_pb2, publish_pb2_grpc

from common.blob_codec import decompress
from common.digest import sha256_hex
from common.manifest import from_json
from common.rpc_status import CODE_KEY
from server.storage.object_store import open_blob_store
from tests.support.pushes import (
    CALIBRATION,
    EVALUATION,
    GRAPH,
    SAMPLES,
    WEIGHTS,
    Parts,
    chunks_of,
    header_for,
    push,
    responses,
    sample_part,
    tiny_parts,
)
from tests.support.server import RunningServer, running_server
from tests.support.waiting import until


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[RunningServer]:
    async with running_server(tmp_path) as server:
        yield server
        assert list((tmp_path / "incoming").iterdir()) == []


async def versions(server: RunningServer) -> list[catalog_pb2.Version]:
    catalog = catalog_pb2_grpc.CatalogServiceStub(server.channel)
    answer = await catalog.ListModels(catalog_pb2.ListModelsRequest())
    return list(answer.versions)


async def refusal(server: RunningServer, *requests: publish_pb2.PublishRequest) -> Any:
    with pytest.raises(grpc.RpcError) as caught:
        await responses(server.addresses.grpc, *requests)
    assert await versions(server) == []
    return caught.value


async def test_a_push_gives_a_version_whose_blobs_are_all_there(server: RunningServer) -> None:
    parts = tiny_parts()
    answers = await responses(server.addresses.grpc, header_for(parts), *chunks_of(parts))
    steps = [answer.progress.step for answer in answers if answer.HasField("progress")]
    assert list(dict.fromkeys(steps)) == ["receive", "quantize", "fidelity", "self-test", "ranges", "store"]
    version = answers[-1].version
    assert (version.ref.model, version.ref.version, list(version.levels)) == ("tiny", 1, [4, 6, 8])

    catalog = catalog_pb2_grpc.CatalogServiceStub(server.channel)
    detail = await catalog.GetVersion(catalog_pb2.GetVersionRequest(ref=version.ref))
    assert detail.version == version
    data = decompress(detail.manifest_zstd, version.manifest_size_bytes)
    assert sha256_hex(data) == version.manifest_digest.hex()
    store = open_blob_store(server.settings.blobs)
    refs = {ref.digest: ref for ref in from_json(data).blob_refs()}
    assert len(refs) == version.blobs
    assert all(len(store.read(digest)) == ref.size_bytes for digest, ref in refs.items())


async def test_the_same_push_again_is_a_version_of_its_own_with_the_same_blobs(
    server: RunningServer,
) -> None:
    first, second = await push(server.addresses.grpc), await push(server.addresses.grpc)
    assert (first.ref.version, second.ref.version) == (1, 2)
    assert first.manifest_digest != second.manifest_digest
    store = open_blob_store(server.settings.blobs)
    assert len(list(store.list())) == first.blobs


async def test_a_push_says_how_weights_are_rounded(server: RunningServer) -> None:
    digests = set()
    for fields, label in (
        ({}, "floor"),
        ({"rounding": "floor", "refit": True}, "floor"),
        ({"rounding": "adaptive"}, "adaptive"),
        ({"rounding": "adaptive", "refit": True}, "adaptive-refit"),
    ):
        version = await push(server.addresses.grpc, **fields)
        assert version.rounding == label
        digests.add(version.sizes.SerializeToString())
    assert len(digests) > 1


@pytest.mark.parametrize(
    ("fields", "code", "why"),
    [
        ({"model": "No Name"}, "invalid_input", "no model name"),
        ({"levels": (8, 4)}, "invalid_input", "do not ascend"),
        ({"levels": ()}, "invalid_input", "at least one level"),
        ({"rounding": "guess"}, "invalid_input", "not known"),
        ({"min_agreement": float("nan")}, "invalid_input", "no share"),
        ({"block_size_bytes": 1}, "invalid_input", "not possible"),
        ({"graph_size_bytes": 0}, "invalid_input", "no bytes for its graph"),
        ({"weights_size_bytes": 1 << 50}, "capacity", "this server takes"),
        ({"calibration_size_bytes": (1 << 30) + 1}, "capacity", "max_calibration_bytes"),
        ({"evaluation_size_bytes": (1 << 31) + 1}, "capacity", "max_evaluation_bytes"),
        ({"rounding": "calibrated"}, "invalid_input", "needs calibration samples"),
        ({"pins": [publish_pb2.Pin(pattern="*", level=5)]}, "invalid_input", "'*' names 5 bits"),
        ({"pins": [publish_pb2.Pin(level=8)]}, "invalid_input", "no pattern"),
        ({"first_last": 5}, "invalid_input", "names 5 bits"),
        ({"budget_bytes": 1 << 63}, "invalid_input", "A budget of 9223372036854775808 bytes"),
        ({"min_fidelity": float("nan")}, "invalid_input", "least fidelity"),
    ],
)
async def test_a_bad_header_is_refused_before_the_first_byte(
    server: RunningServer, fields: dict[str, object], code: str, why: str
) -> None:
    error = await refusal(server, header_for(tiny_parts(), **fields))
    assert why in str(error.details())
    assert dict(error.trailing_metadata() or ())[CODE_KEY] == code


async def test_samples_for_calibration_and_evaluation_may_come_too(server: RunningServer) -> None:
    calibration, evaluation = sample_part(32), sample_part(100, labels=np.zeros(100, np.int32))
    for extra in (
        {CALIBRATION: calibration},
        {EVALUATION: evaluation},
        {CALIBRATION: calibration, EVALUATION: evaluation},
    ):
        parts = {**tiny_parts(), **extra}
        answers = await responses(server.addresses.grpc, header_for(parts), *chunks_of(parts))
        received = [answer.progress for answer in answers if answer.progress.step == "receive"]
        assert received[0].total == sum(map(len, parts.values()))
        assert answers[-1].version.ref.model == "tiny"


async def test_the_disk_must_have_room_for_all_samples(tmp_path: Path) -> None:
    free_bytes = shutil.disk_usage(tmp_path).free
    async with running_server(tmp_path, max_evaluation_bytes=2 * free_bytes) as server:
        error = await refusal(server, header_for(tiny_parts(), evaluation_size_bytes=free_bytes + (1 << 30)))
        assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert "of disk" in str(error.details())


async def test_a_disk_with_too_little_room_is_refused_before_the_first_byte(tmp_path: Path) -> None:
    reserve_bytes = shutil.disk_usage(tmp_path).free + (1 << 40)
    async with running_server(tmp_path, disk_reserve_bytes=reserve_bytes) as server:
        error = await refusal(server, header_for(tiny_parts()))
        assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert "of disk" in str(error.details())


def _swapped(parts: Parts) -> list[publish_pb2.PublishRequest]:
    return list(chunks_of({WEIGHTS: parts[WEIGHTS], GRAPH: parts[GRAPH], SAMPLES: parts[SAMPLES]}))


async def test_parts_must_come_in_order_and_exact(server: RunningServer) -> None:
    parts = tiny_parts()
    header, chunks = header_for(parts), list(chunks_of(parts))
    extra = {**parts, CALIBRATION: sample_part(1), EVALUATION: sample_part(1, labels=np.zeros(1, np.int64))}
    swapped = {**parts, EVALUATION: extra[EVALUATION], CALIBRATION: extra[CALIBRATION]}
    streams = {
        "starts with its header": chunks,
        "ended after": [header, *chunks[:-1]],
        "longer than announced": [header, *chunks, chunks[-1]],
        "out of turn": [header, *_swapped(parts)],
        "chunks of known parts": [header, header],
        "not announce its calibration": [header, *chunks_of(extra)],
        "evaluation comes out of turn": [header_for(extra), *chunks_of(swapped)],
        "push ended after": [header_for(extra), *chunks],
    }
    for why, requests in streams.items():
        error = await refusal(server, *requests)
        assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
        assert why in str(error.details())


async def test_parts_that_are_damaged_or_do_not_belong_together(server: RunningServer) -> None:
    parts = dict(tiny_parts())
    arrays = safetensors.numpy.load(parts[WEIGHTS])
    name = next(name for name, array in arrays.items() if array.ndim == 4)
    poisoned = {**arrays, name: np.full_like(arrays[name], np.nan)}
    missing = {key: array for key, array in arrays.items() if key != name}
    shape = safetensors.numpy.save({"input/0": np.zeros((2, 1, 9, 9), np.float32)})
    cases = {
        "damaged": {GRAPH: b"x" * 99},
        "no safetensors file": {WEIGHTS: b"x" * 99},
        "samples are no": {SAMPLES: b"x" * 99},
        name: {WEIGHTS: safetensors.numpy.save(poisoned)},
        "do not hold": {WEIGHTS: safetensors.numpy.save(missing)},
        "9, 9": {SAMPLES: shape},
    }
    for why, changed in cases.items():
        broken = parts | changed
        error = await refusal(server, header_for(broken), *chunks_of(broken))
        assert error.code() is grpc.StatusCode.INVALID_ARGUMENT, error.details()
        assert why in str(error.details())


NOT_FINITE = np.zeros((3, 1, 8, 8), np.float32)
NOT_FINITE[2, 0, 7, 7] = np.nan


@pytest.mark.parametrize(
    ("part", "data", "why"),
    [
        (CALIBRATION, b"PK\x03\x04" * 9, "calibration samples are no safetensors file"),
        (EVALUATION, b"\x80\x04cos\nsystem\n(S'false'\ntR.", "evaluation samples are no safetensors file"),
        (CALIBRATION, sample_part(0), "The calibration samples need one axis 0"),
        (CALIBRATION, sample_part(513), "513 calibration samples and 512 are allowed"),
        (CALIBRATION, sample_part(2, labels=np.zeros(2, np.int64)), "calibration samples have labels"),
        (CALIBRATION, sample_part(2, **{"input/0": NOT_FINITE}), "Sample 2 of the calibration samples"),
        (CALIBRATION, sample_part(2, **{"input/0": NOT_FINITE[..., :7]}), "[3, 1, 8, 7]"),
        (CALIBRATION, sample_part(2, **{"input/0": NOT_FINITE.astype(np.float64)}), "is float64"),
        (CALIBRATION, sample_part(2, **{"input/1": np.zeros(2)}), "have 2 arrays"),
        (EVALUATION, sample_part(2), "evaluation samples have no labels"),
        (
            EVALUATION,
            sample_part(2, labels=np.zeros(3, np.int64)),
            "labels of the evaluation samples must be one whole number per sample",
        ),
        (EVALUATION, sample_part(2, labels=np.zeros(2, np.float32)), "one whole number per sample"),
        (EVALUATION, sample_part(2, labels=np.array([0, -1])), "Label 1 of the evaluation samples is -1"),
        (EVALUATION, sample_part(10_001, labels=np.zeros(10_001, np.int64)), "10001 evaluation samples"),
    ],
)
async def test_samples_that_cannot_be_used_are_refused(
    server: RunningServer, part: publish_pb2.PublishPart.ValueType, data: bytes, why: str
) -> None:
    broken = {**tiny_parts(), part: data}
    error = await refusal(server, header_for(broken), *chunks_of(broken))
    assert error.code() is grpc.StatusCode.INVALID_ARGUMENT, error.details()
    assert why in str(error.details())


async def test_a_client_that_goes_away_publishes_nothing(server: RunningServer, tmp_path: Path) -> None:
    parts = tiny_parts()
    call = publish_pb2_grpc.PublishServiceStub(server.channel).Publish()
    await call.write(header_for(parts))
    await call.write(next(chunks_of(parts)))
    incoming = tmp_path / "incoming"
    await until(lambda: list(incoming.iterdir()))
    call.cancel()
    await until(lambda: not list(incoming.iterdir()))
    assert await versions(server) == []
    await push(server.addresses.grpc)


async def test_a_client_that_falls_silent_is_cut(tmp_path: Path) -> None:
    async with running_server(tmp_path, push_idle_seconds=0.2) as server:
        call = publish_pb2_grpc.PublishServiceStub(server.channel).Publish()
        await call.write(header_for(tiny_parts()))
        with pytest.raises(grpc.aio.AioRpcError, match="sent nothing"):
            [_ async for _ in call]


async def test_one_push_too_many_is_refused(tmp_path: Path) -> None:
    async with running_server(tmp_path, max_pushes=1) as server:
        call = publish_pb2_grpc.PublishServiceStub(server.channel).Publish()
        await call.write(header_for(tiny_parts()))
        await call.read()
        error = await refusal(server, header_for(tiny_parts()))
        assert "takes no more" in str(error.details())
        call.cancel()


async def test_pushes_at_once_get_numbers_of_their_own(server: RunningServer) -> None:
    pushed = await asyncio.gather(*(push(server.addresses.grpc) for _ in range(3)))
    assert sorted(version.ref.version for version in pushed) == [1, 2, 3]
