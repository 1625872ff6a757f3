from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiomqtt
import grpc
import pytest
from nestfleet.v1 import (
    catalog_pb2,
    catalog_pb2_grpc,
    control_pb2,
    delivery_pb2,
    delivery_pb2_grpc,
    fleet_pb2,
    fleet_pb2_grpc,
)

from common.topics import Topic, topic_for
from tests.support.pushes import push, tiny_parts
from tests.support.server import RunningServer, running_server
from tests.support.waiting import until


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[RunningServer]:
    async with running_server(tmp_path, gc_grace_seconds=0) as server:
        delivery = delivery_pb2_grpc.DeliveryServiceStub(server.channel)
        for number, device_id in enumerate(("cellar", "kitchen")):
            key = bytes([number]) * 32
            await delivery.Enrol(delivery_pb2.EnrolRequest(device_id=device_id, enrolment_key=key))
        yield server


def fleet(server: RunningServer) -> fleet_pb2_grpc.FleetServiceAsyncStub:
    return fleet_pb2_grpc.FleetServiceStub(server.channel)


def device_link(server: RunningServer) -> aiomqtt.Client:
    return aiomqtt.Client("127.0.0.1", int(server.addresses.broker.rpartition(":")[2]))


async def devices(server: RunningServer) -> dict[str, fleet_pb2.Device]:
    answer = await fleet(server).ListDevices(fleet_pb2.ListDevicesRequest())
    return {device.device_id: device for device in answer.devices}


async def assign(
    server: RunningServer, version: catalog_pb2.VersionRef, *device_ids: str, max_level: int = 0
) -> None:
    await fleet(server).Assign(
        fleet_pb2.AssignRequest(
            ref=version, device_ids=device_ids, all_devices=not device_ids, max_level=max_level
        )
    )


async def test_an_assignment_is_listed_and_retained(server: RunningServer) -> None:
    version = await push(server.addresses.grpc)
    await assign(server, version.ref, "kitchen", max_level=6)
    listed = await devices(server)
    assert (listed["kitchen"].assigned, listed["kitchen"].max_level) == (version.ref, 6)
    assert not listed["cellar"].HasField("assigned")

    async with device_link(server) as link:
        await link.subscribe(topic_for("kitchen", Topic.ASSIGNMENT), qos=1)
        message = await asyncio.wait_for(anext(aiter(link.messages)), 60)
    goal = control_pb2.Assignment.FromString(bytes(message.payload))
    assert (goal.ref, goal.manifest_digest, goal.max_level) == (version.ref, version.manifest_digest, 6)


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (fleet_pb2.AssignRequest(ref=catalog_pb2.VersionRef(model="tiny")), grpc.StatusCode.INVALID_ARGUMENT),
        (
            fleet_pb2.AssignRequest(
                ref=catalog_pb2.VersionRef(model="tiny"), device_ids=["kitchen"], all_devices=True
            ),
            grpc.StatusCode.INVALID_ARGUMENT,
        ),
        (
            fleet_pb2.AssignRequest(ref=catalog_pb2.VersionRef(model="tiny", version=9), all_devices=True),
            grpc.StatusCode.NOT_FOUND,
        ),
        (
            fleet_pb2.AssignRequest(ref=catalog_pb2.VersionRef(model="tiny"), device_ids=["attic"]),
            grpc.StatusCode.NOT_FOUND,
        ),
        (
            fleet_pb2.AssignRequest(ref=catalog_pb2.VersionRef(model="tiny"), all_devices=True, max_level=5),
            grpc.StatusCode.INVALID_ARGUMENT,
        ),
    ],
)
async def test_assignments_that_cannot_be(
    server: RunningServer, request_: fleet_pb2.AssignRequest, status: grpc.StatusCode
) -> None:
    await push(server.addresses.grpc)
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await fleet(server).Assign(request_)
    assert caught.value.code() is status
    assert not any(device.HasField("assigned") for device in (await devices(server)).values())


async def test_an_older_version_needs_consent(server: RunningServer) -> None:
    first = await push(server.addresses.grpc)
    second = await push(server.addresses.grpc)
    async with device_link(server) as link:
        state = control_pb2.DeviceState(device_id="kitchen", proven=second.ref)
        await link.publish(topic_for("kitchen", Topic.STATE), state.SerializeToString(), qos=1, retain=True)

        async def known() -> bool:
            return (await devices(server))["kitchen"].state == state

        await until(known)
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await assign(server, first.ref, "kitchen")
    assert caught.value.code() is grpc.StatusCode.FAILED_PRECONDITION
    request = fleet_pb2.AssignRequest(ref=first.ref, device_ids=["kitchen"], allow_older=True)
    answer = await fleet(server).Assign(request)
    assert answer.devices[0].assigned == first.ref


async def test_limits_are_listed_and_retained(server: RunningServer) -> None:
    request = fleet_pb2.SetLimitsRequest(device_id="kitchen", memory_budget_bytes=1 << 20)
    answer = await fleet(server).SetLimits(request)
    assert answer.device.memory_budget_bytes == 1 << 20
    async with device_link(server) as link:
        await link.subscribe(topic_for("kitchen", Topic.LIMITS), qos=1)
        message = await asyncio.wait_for(anext(aiter(link.messages)), 60)
    assert control_pb2.Limits.FromString(bytes(message.payload)).memory_budget_bytes == 1 << 20


async def test_limits_of_transfer_are_listed_and_retained_and_stay_when_none_are_said(
    server: RunningServer,
) -> None:
    transfer = control_pb2.TransferLimits(
        bandwidth_bytes_per_second=1 << 18,
        monthly_bytes=1 << 29,
        metered=control_pb2.METERED_RULE_BASE_ONLY,
        quiet_hours="22:00-06:00",
    )
    await fleet(server).SetLimits(fleet_pb2.SetLimitsRequest(device_id="kitchen", transfer=transfer))
    request = fleet_pb2.SetLimitsRequest(device_id="kitchen", memory_budget_bytes=9)
    assert (await fleet(server).SetLimits(request)).device.transfer_limits == transfer
    assert (await devices(server))["kitchen"].transfer_limits == transfer
    async with device_link(server) as link:
        await link.subscribe(topic_for("kitchen", Topic.LIMITS), qos=1)

        async def retained() -> bool:
            message = await asyncio.wait_for(anext(aiter(link.messages)), 60)
            limits = control_pb2.Limits.FromString(bytes(message.payload))
            return limits.transfer == transfer and limits.memory_budget_bytes == 9

        await until(retained)


@pytest.mark.parametrize(
    ("transfer", "why"),
    [
        ({"bandwidth_bytes_per_second": 1}, "at least 1024"),
        ({"monthly_bytes": (1 << 64) - 1}, "no monthly budget"),
        ({"metered": 99}, "no rule 99"),
        ({"quiet_hours": "10pm-6am"}, "HH:MM-HH:MM"),
    ],
)
async def test_absurd_limits_are_refused_and_say_what_to_write(
    server: RunningServer, transfer: dict[str, Any], why: str
) -> None:
    limits = control_pb2.TransferLimits(**transfer)
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await fleet(server).SetLimits(fleet_pb2.SetLimitsRequest(device_id="kitchen", transfer=limits))
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert why in (caught.value.details() or "")


async def test_several_models_are_assigned_beside_each_other_and_listed(server: RunningServer) -> None:
    for model in ("eyes", "ears"):
        await push(server.addresses.grpc, model=model)
    eyes, ears = (catalog_pb2.VersionRef(model=model, version=1) for model in ("eyes", "ears"))
    request = fleet_pb2.AssignRequest(ref=eyes, device_ids=["kitchen"], max_level=6)
    await fleet(server).Assign(request)
    request = fleet_pb2.AssignRequest(ref=ears, device_ids=["kitchen"], beside=True)
    (device,) = (await fleet(server).Assign(request)).devices
    assert device == (await devices(server))["kitchen"]
    assert (device.assigned, device.max_level) == (eyes, 6), "all that an older client reads"
    assert [(item.ref, item.max_level) for item in device.assigned_versions] == [(eyes, 6), (ears, 0)]
    request = fleet_pb2.AssignRequest(ref=ears, further=[eyes], device_ids=["kitchen"])
    (device,) = (await fleet(server).Assign(request)).devices
    assert [item.ref for item in device.assigned_versions] == [ears, eyes]


@pytest.mark.parametrize(
    ("names", "why"),
    [
        (["tiny", "tiny"], "named twice"),
        (["tiny", "no name"], "no model name"),
        (["tiny", *(f"m{index}" for index in range(8))], "at most 8 models"),
        (["tiny", *(f"m{index}" for index in range(1000))], "at most 8 models"),
    ],
)
async def test_a_set_that_no_device_can_run_is_refused(
    server: RunningServer, names: list[str], why: str
) -> None:
    first, *further = (catalog_pb2.VersionRef(model=name, version=1) for name in names)
    request = fleet_pb2.AssignRequest(ref=first, further=further, all_devices=True)
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await fleet(server).Assign(request)
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert why in (caught.value.details() or "")


async def test_a_forgotten_id_is_free_again(server: RunningServer) -> None:
    await fleet(server).ForgetDevice(fleet_pb2.ForgetDeviceRequest(device_id="kitchen"))
    assert set(await devices(server)) == {"cellar"}
    delivery = delivery_pb2_grpc.DeliveryServiceStub(server.channel)
    await delivery.Enrol(delivery_pb2.EnrolRequest(device_id="kitchen", enrolment_key=b"k" * 32))
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await fleet(server).ForgetDevice(fleet_pb2.ForgetDeviceRequest(device_id="attic"))
    assert caught.value.code() is grpc.StatusCode.NOT_FOUND


async def test_a_version_in_use_cannot_be_deleted(server: RunningServer) -> None:
    version = await push(server.addresses.grpc)
    await assign(server, version.ref)
    catalog = catalog_pb2_grpc.CatalogServiceStub(server.channel)
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await catalog.DeleteVersion(catalog_pb2.DeleteVersionRequest(ref=version.ref))
    assert caught.value.code() is grpc.StatusCode.FAILED_PRECONDITION
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await catalog.DeleteVersion(
            catalog_pb2.DeleteVersionRequest(ref=catalog_pb2.VersionRef(model="tiny"))
        )
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT


async def test_garbage_is_what_no_version_names(server: RunningServer) -> None:
    kept = await push(server.addresses.grpc)
    gone = await push(server.addresses.grpc, tiny_parts(seed=1))
    catalog = catalog_pb2_grpc.CatalogServiceStub(server.channel)
    await catalog.DeleteVersion(catalog_pb2.DeleteVersionRequest(ref=gone.ref))
    dry = await fleet(server).CollectGarbage(fleet_pb2.CollectGarbageRequest(dry_run=True))
    real = await fleet(server).CollectGarbage(fleet_pb2.CollectGarbageRequest())
    after = await fleet(server).CollectGarbage(fleet_pb2.CollectGarbageRequest())
    assert dry == real
    assert real.blobs == gone.blobs
    assert after.blobs == 0
    assert (await catalog.ListModels(catalog_pb2.ListModelsRequest())).versions == [kept]


async def test_savings_tell_what_devices_reported(server: RunningServer) -> None:
    version = await push(server.addresses.grpc)
    async with device_link(server) as link:
        report = control_pb2.LedgerReport(device_id="kitchen", ledger_id="l1")
        report.totals.add(ref=version.ref, kind=control_pb2.TRANSFER_KIND_BASE, level=4, payload_bytes=100)
        report.totals.add(ref=version.ref, kind=control_pb2.TRANSFER_KIND_METADATA, payload_bytes=7)
        report.totals.add(ref=version.ref, kind=control_pb2.TRANSFER_KIND_OVERHEAD, payload_bytes=3)
        report.reached.add(ref=version.ref, levels=[4])
        topic = topic_for("kitchen", Topic.LEDGER)
        await link.publish(topic, report.SerializeToString(), qos=1, retain=True)

        async def counted() -> bool:
            answer = await fleet(server).GetSavings(fleet_pb2.GetSavingsRequest(model="tiny"))
            return answer.fleet.moved_bytes == 110

        await until(counted)
    answer = await fleet(server).GetSavings(fleet_pb2.GetSavingsRequest())
    row = next(row for row in answer.devices if row.device_id == "kitchen")
    assert (row.base_bytes, row.metadata_bytes, row.overhead_bytes, row.versions) == (100, 7, 3, 1)
    assert {hour.kind: hour.bytes for hour in answer.hours} == {
        control_pb2.TRANSFER_KIND_BASE: 100,
        control_pb2.TRANSFER_KIND_METADATA: 7,
        control_pb2.TRANSFER_KIND_OVERHEAD: 3,
    }
    assert len({hour.unix_ms for hour in answer.hours}) <= 2
    assert all(hour.unix_ms % 3_600_000 == 0 for hour in answer.hours)
    assert row.fp32_bytes == version.sizes.fp32_bytes
    assert row.paper_bytes == version.sizes.paper_high_bytes
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await fleet(server).GetSavings(fleet_pb2.GetSavingsRequest(model="unknown"))
    assert caught.value.code() is grpc.StatusCode.NOT_FOUND
