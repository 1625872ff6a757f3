"""FleetService: what operators ask about and want of devices."""

from __future__ import annotations

import asyncio
from typing import Any, Final

import grpc
from nestfleet.v1 import fleet_pb2, fleet_pb2_grpc

from common.assigned_set import MAX_MODELS
from common.clock import Clock
from common.errors import InvalidInputError
from common.names import check_name
from common.transfer_limits import read_transfer_limits
from server.control.desk import Desk
from server.ledger.messages import hour_messages, savings_message
from server.ledger.recording import savings
from server.registry.repository import Registry
from server.rpc.convert import device_message
from server.storage.garbage import Collected, collect
from server.storage.port import BlobStore

_MAX_DEVICES: Final = 10_000


class FleetServicer(fleet_pb2_grpc.FleetServiceServicer):
    """Answers operators, and states what they want to the registry first and the broker second."""

    def __init__(
        self, registry: Registry, store: BlobStore, desk: Desk, clock: Clock, *, gc_grace_seconds: float
    ) -> None:
        self._registry = registry
        self._store = store
        self._desk = desk
        self._clock = clock
        self._gc_grace_seconds = gc_grace_seconds

    async def ListDevices(
        self, request: fleet_pb2.ListDevicesRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> fleet_pb2.ListDevicesResponse:
        """Every enrolled device."""
        records = await asyncio.to_thread(self._registry.list_devices)
        return fleet_pb2.ListDevicesResponse(devices=[device_message(record) for record in records])

    async def Assign(
        self, request: fleet_pb2.AssignRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> fleet_pb2.AssignResponse:
        """States what devices shall run."""
        ref = request.ref
        if len(request.further) >= MAX_MODELS:
            raise InvalidInputError(
                f"A device runs at most {MAX_MODELS} models at once.", advice="Name fewer."
            )
        for named in (ref, *request.further):
            check_name(named.model, what="model")
        records = await asyncio.to_thread(
            self._registry.assign,
            _device_ids(request),
            ref.model,
            ref.version,
            further=[(named.model, named.version) for named in request.further],
            beside=request.beside,
            max_level=request.max_level,
            allow_older=request.allow_older,
            now_ms=self._clock.unix_ms(),
        )
        self._desk.announce(record.device_id for record in records)
        return fleet_pb2.AssignResponse(devices=[device_message(record) for record in records])

    async def SetLimits(
        self, request: fleet_pb2.SetLimitsRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> fleet_pb2.SetLimitsResponse:
        """States run-time limits of one device."""
        transfer = read_transfer_limits(request.transfer) if request.HasField("transfer") else None
        record = await asyncio.to_thread(
            self._registry.set_limits, request.device_id, request.memory_budget_bytes, transfer
        )
        self._desk.announce([record.device_id])
        return fleet_pb2.SetLimitsResponse(device=device_message(record))

    async def ForgetDevice(
        self, request: fleet_pb2.ForgetDeviceRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> fleet_pb2.ForgetDeviceResponse:
        """Frees a device id."""
        await asyncio.to_thread(self._registry.forget_device, request.device_id)
        self._desk.announce([request.device_id])
        return fleet_pb2.ForgetDeviceResponse()

    async def GetSavings(
        self, request: fleet_pb2.GetSavingsRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> fleet_pb2.GetSavingsResponse:
        """What was moved, against what other schemes would have moved."""
        if request.model:
            check_name(request.model, what="model")
        comparison = await asyncio.to_thread(savings, self._registry, request.model)
        hours = await asyncio.to_thread(self._registry.moved_hours, request.model)
        return fleet_pb2.GetSavingsResponse(
            devices=[savings_message(row) for row in comparison.devices],
            fleet=savings_message(comparison.fleet),
            hours=hour_messages(hours),
        )

    async def CollectGarbage(
        self, request: fleet_pb2.CollectGarbageRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> fleet_pb2.CollectGarbageResponse:
        """Deletes blobs that no version names."""
        collected: Collected = await asyncio.to_thread(
            collect,
            self._store,
            self._registry,
            grace_seconds=self._gc_grace_seconds,
            now_unix_ms=self._clock.unix_ms(),
            dry_run=request.dry_run,
        )
        return fleet_pb2.CollectGarbageResponse(blobs=collected.blobs, freed_bytes=collected.freed_bytes)


def _device_ids(request: fleet_pb2.AssignRequest) -> list[str] | None:
    if request.all_devices == bool(request.device_ids):
        raise InvalidInputError("An assignment names its devices, or all of them.")
    if len(request.device_ids) > _MAX_DEVICES:
        raise InvalidInputError(
            f"An assignment names at most {_MAX_DEVICES} devices.", advice="Assign in several calls."
        )
    return None if request.all_devices else list(request.device_ids)
