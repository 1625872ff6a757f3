"""What an operator asks of a server and wants of its fleet, as typed calls."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Self

import grpc
from nestfleet.v1 import (
    catalog_pb2,
    catalog_pb2_grpc,
    control_pb2,
    delivery_pb2_grpc,
    fleet_pb2,
    fleet_pb2_grpc,
)

from common import digest, manifest
from common.blob_codec import decode_bytes, decompress
from common.channel import MAX_MANIFEST_BYTES
from common.errors import IntegrityError, NotFoundError
from common.manifest import BlobRef, Manifest
from server.client.blob import fetch
from server.client.connection import CALL_SECONDS, DEFAULT_SERVER, Connection

_COLLECT_SECONDS: Final = 900.0


@dataclass(frozen=True, slots=True)
class VersionDetail:
    """A version with its manifest, which is verified against the digest that the version states."""

    version: catalog_pb2.Version
    manifest: Manifest


class FleetClient:
    """A synchronous client; to be used as a context manager.

    Every call raises the error of ``common.errors`` that the server answered, or LinkError.

    Args:
        server: ``HOST:PORT``.
    """

    def __init__(self, server: str = DEFAULT_SERVER) -> None:
        self._connection = Connection(server)
        self._catalog = catalog_pb2_grpc.CatalogServiceStub(self._connection.channel)
        self._delivery = delivery_pb2_grpc.DeliveryServiceStub(self._connection.channel)
        self._fleet = fleet_pb2_grpc.FleetServiceStub(self._connection.channel)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Give the channel up."""
        self._connection.close()

    def list_versions(self) -> Sequence[catalog_pb2.Version]:
        """Every version of every model, newest first; at most 1000."""
        return self._connection.call(self._catalog.ListModels, catalog_pb2.ListModelsRequest()).versions

    def get_version(self, model: str, version: int = 0) -> VersionDetail:
        """One version with its manifest; 0 is the newest.

        Raises:
            IntegrityError: The manifest is not what the version's digest names.
        """
        request = catalog_pb2.GetVersionRequest(ref=_ref(model, version))
        reply = self._connection.call(self._catalog.GetVersion, request)
        return VersionDetail(reply.version, _manifest(reply.version, reply.manifest_zstd))

    def delete_version(self, model: str, version: int) -> None:
        """Withdraw a version; ConflictError while it is assigned."""
        request = catalog_pb2.DeleteVersionRequest(ref=_ref(model, version))
        self._connection.call(self._catalog.DeleteVersion, request)

    def read_blob(self, ref: BlobRef) -> bytes:
        """The decoded bytes of a blob.

        Raises:
            IntegrityError: They are not what ``ref`` names.
        """
        try:
            received = fetch(self._delivery, ref.digest, limit_bytes=ref.size_bytes, seconds=CALL_SECONDS)
        except grpc.RpcError as error:
            raise self._connection.meant_by(error) from error
        return bytes(decode_bytes(received, ref))

    def list_devices(self) -> Sequence[fleet_pb2.Device]:
        """Every enrolled device with its last report."""
        return self._connection.call(self._fleet.ListDevices, fleet_pb2.ListDevicesRequest()).devices

    def assign(
        self,
        model: str,
        version: int = 0,
        *,
        device_ids: Sequence[str] = (),
        all_devices: bool = False,
        further: Sequence[tuple[str, int]] = (),
        beside: bool = False,
        max_level: int = 0,
        allow_older: bool = False,
    ) -> Sequence[fleet_pb2.Device]:
        """State what devices shall run; gives those devices back.

        Args:
            model: Its name.
            version: 0 is the newest.
            device_ids: Which devices; empty with ``all_devices``.
            all_devices: The whole fleet.
            further: Versions of other models that they shall run too, each with a number as above.
            beside: What else is assigned to them stays; else these are all that they shall run.
            max_level: The highest level they may take of each of these; 0: no limit.
            allow_older: Also where a device has proven a newer version.
        """
        request = fleet_pb2.AssignRequest(
            ref=_ref(model, version),
            device_ids=device_ids,
            all_devices=all_devices,
            further=[_ref(*other) for other in further],
            beside=beside,
            max_level=max_level,
            allow_older=allow_older,
        )
        return self._connection.call(self._fleet.Assign, request).devices

    def set_memory_budget(self, device_id: str, budget_bytes: int) -> fleet_pb2.Device:
        """Limit the memory that weights may take on a device; 0: its own setting holds."""
        request = fleet_pb2.SetLimitsRequest(device_id=device_id, memory_budget_bytes=budget_bytes)
        return self._connection.call(self._fleet.SetLimits, request).device

    def get_device(self, device_id: str) -> fleet_pb2.Device:
        """One device with its limits and its last report.

        Raises:
            NotFoundError: There is none with this id.
        """
        for device in self.list_devices():
            if device.device_id == device_id:
                return device
        raise NotFoundError(f"There is no device {device_id[:80]}.", advice="See `nestfleet devices`.")

    def set_limits(
        self, device_id: str, budget_bytes: int, transfer: control_pb2.TransferLimits
    ) -> fleet_pb2.Device:
        """Limit a device's memory for weights and its transfers; what is empty, its own setting decides."""
        request = fleet_pb2.SetLimitsRequest(
            device_id=device_id, memory_budget_bytes=budget_bytes, transfer=transfer
        )
        return self._connection.call(self._fleet.SetLimits, request).device

    def forget_device(self, device_id: str) -> None:
        """Free a device id; its ledger stays."""
        request = fleet_pb2.ForgetDeviceRequest(device_id=device_id)
        self._connection.call(self._fleet.ForgetDevice, request)

    def get_savings(self, model: str = "") -> fleet_pb2.GetSavingsResponse:
        """What was moved, against what other schemes would have moved; "" is every model."""
        return self._connection.call(self._fleet.GetSavings, fleet_pb2.GetSavingsRequest(model=model))

    def collect_garbage(self, *, dry_run: bool = False) -> fleet_pb2.CollectGarbageResponse:
        """Delete blobs that no version names, or count them."""
        request = fleet_pb2.CollectGarbageRequest(dry_run=dry_run)
        return self._connection.call(self._fleet.CollectGarbage, request, seconds=_COLLECT_SECONDS)


def _ref(model: str, version: int) -> catalog_pb2.VersionRef:
    return catalog_pb2.VersionRef(model=model, version=version)


def _manifest(version: catalog_pb2.Version, manifest_zstd: bytes) -> Manifest:
    size_bytes = version.manifest_size_bytes
    if size_bytes > MAX_MANIFEST_BYTES:
        raise IntegrityError(f"A manifest of {size_bytes} bytes is beyond the limit of {MAX_MANIFEST_BYTES}.")
    data = decompress(manifest_zstd, size_bytes)
    expected, actual = digest.from_wire(version.manifest_digest), digest.sha256_hex(data)
    if actual != expected:
        raise IntegrityError(
            "The manifest is not the one that the version names.", expected=expected, actual=actual
        )
    return manifest.from_json(data)
