"""The registry: one method per use case, one transaction each. Blocking; safe to share between threads."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence

from common.clock import Clock, SystemClock
from common.names import check_name
from common.sizes import SizeReport
from common.transfer_limits import TransferLimits
from server.registry import byte_counts, deltas, devices, goals, moved_hours, versions
from server.registry.database import Database
from server.registry.migrate import migrate
from server.registry.records import (
    DeltaRecord,
    DeviceRecord,
    HourRecord,
    NewVersion,
    ReachedRecord,
    TransferRecord,
    VersionRecord,
)

MAX_VERSIONS_LISTED = 1000


class Registry:
    """Versions, devices and byte counts in a database that has the newest schema.

    Every method raises LinkError when the database is away, CapacityError when its disk is full.
    """

    def __init__(self, url: str, *, clock: Clock | None = None) -> None:
        self._database = Database(url)
        self._clock = clock or SystemClock()

    @classmethod
    def open(cls, url: str, *, clock: Clock | None = None) -> Registry:
        """A registry whose schema is brought up to date first; other servers may do the same at once.

        Raises:
            ConfigError: The URL names no database that the registry knows.
            LinkError: The database is away.
        """
        migrate(url)
        return cls(url, clock=clock)

    def close(self) -> None:
        """Connections are closed."""
        self._database.close()

    def add_version(self, model: str, make: Callable[[int], NewVersion]) -> VersionRecord:
        """The model has a new version, whole. Its blobs must be in the store before.

        Args:
            model: A new or a known model.
            make: Gives what the version is for the number that it gets; called again after a lost race.

        Raises:
            InvalidInputError: The model's name is none.
            ConflictError: Others were first, again and again.
        """
        check_name(model, what="model")
        now_ms = self._clock.unix_ms()
        return self._database.write(lambda session: versions.add(session, model, make, now_ms))

    def get_version(self, model: str, version: int = 0) -> VersionRecord:
        """One version; 0 stands for the newest.

        Raises:
            NotFoundError: There is none; the message says which there are.
        """
        return self._database.read(
            lambda session: versions.version_record(versions.find(session, model, version))
        )

    def get_manifest(self, digest: str) -> bytes:
        """The canonical manifest with this digest.

        Raises:
            NotFoundError: No version has it.
        """
        return self._database.read(lambda session: versions.manifest_bytes(session, digest))

    def list_versions(self, limit: int = MAX_VERSIONS_LISTED) -> list[VersionRecord]:
        """The versions added last, by model and then from the newest down."""
        return self._database.read(lambda session: versions.newest_first(session, limit))

    def delete_version(self, model: str, version: int) -> None:
        """The version is gone; its number is never given again, and its byte counts stay.

        Raises:
            InvalidInputError: No number is given.
            NotFoundError: There is no such version.
            ConflictError: It is assigned to devices.
        """
        self._database.write(lambda session: versions.withdraw(session, model, version))

    def names_blob(self, digest: str) -> bool:
        """Whether a version names the blob, or it is a delta between two."""
        return self._database.read(lambda session: versions.names_blob(session, digest))

    def named_among(self, digests: Collection[str]) -> frozenset[str]:
        """Those of the blobs that a version names; one query for at most 1024 of them."""
        return self._database.read(lambda session: versions.named_among(session, digests))

    def named_blobs(self) -> frozenset[str]:
        """Every blob that a version names, and every delta between two."""
        return self._database.read(versions.named_blobs)

    def deltas(self, held_digest: str, wanted_digest: str) -> list[DeltaRecord]:
        """All that is known of a version's blobs as deltas against another version, block by block."""
        return self._database.read(lambda session: deltas.between(session, held_digest, wanted_digest))

    def record_delta(self, delta: DeltaRecord) -> DeltaRecord:
        """The delta is known, and named while both its versions are there. Its blob must be in the store.

        Returns:
            What is known now: another delta where somebody else was first.

        Raises:
            NotFoundError: One of the versions is gone.
        """
        return self._database.write(lambda session: deltas.record(session, delta))

    def sizes(self) -> dict[tuple[str, int], SizeReport]:
        """What every version weighs, by model and number; deleted ones too."""
        return self._database.read(versions.all_sizes)

    def enrol(
        self, device_id: str, key_sha256: str, agent_version: str, platform: str, now_ms: int
    ) -> DeviceRecord:
        """The device is known under its id, or recognised by its key.

        Raises:
            InvalidInputError: The id is no name.
            ConflictError: A device with another key has this id.
        """
        return self._database.write(
            lambda session: devices.enrol(
                session, device_id, key_sha256, agent_version=agent_version, platform=platform, now_ms=now_ms
            )
        )

    def get_device(self, device_id: str) -> DeviceRecord:
        """One device.

        Raises:
            NotFoundError: There is none with this id.
        """
        return self._database.read(
            lambda session: devices.device_record(session, devices.find(session, device_id))
        )

    def list_devices(self) -> list[DeviceRecord]:
        """Every enrolled device, by id."""
        return self._database.read(
            lambda session: [devices.device_record(session, row) for row in devices.enrolled(session)]
        )

    def forget_device(self, device_id: str) -> None:
        """The id is free: assignment, limits and key are gone; byte counts stay.

        Raises:
            NotFoundError: There is no such device.
        """
        self._database.write(lambda session: devices.forget(session, device_id))

    def assign(
        self,
        device_ids: Sequence[str] | None,
        model: str,
        version: int = 0,
        *,
        further: Sequence[tuple[str, int]] = (),
        beside: bool = False,
        max_level: int = 0,
        allow_older: bool = False,
        now_ms: int,
    ) -> list[DeviceRecord]:
        """All these devices shall run the version, or none of them has changed; generations rise.

        What else was assigned to them is not any more, unless the version shall run beside it.

        Args:
            device_ids: None stands for the whole fleet.
            model: A known model.
            version: 0 stands for the newest.
            further: Versions of other models that shall run too; what is said here of one holds for each.
            beside: Whether what else is assigned stays; of the same model it is replaced.
            max_level: One of the version's levels; 0 for no limit.
            allow_older: Whether a version older than what a device has proven is meant.
            now_ms: When the operator said so.

        Raises:
            NotFoundError: There is no such version, or no such device.
            InvalidInputError: The version does not have that level, or a device would have too many models.
            ConflictError: A device has proven a newer version, and older ones are not allowed.
        """
        return self._database.write(
            lambda session: goals.assign(
                session,
                device_ids,
                [(model, version), *further],
                beside=beside,
                max_level=max_level,
                now_ms=now_ms,
                allow_older=allow_older,
            )
        )

    def set_limits(
        self, device_id: str, memory_budget_bytes: int, transfer: TransferLimits | None = None
    ) -> DeviceRecord:
        """The operator limits the device's memory and transfers. The limits' generation rises.

        Args:
            device_id: Which device.
            memory_budget_bytes: 0 lifts the limit.
            transfer: None leaves the limits of transfer as they are.

        Raises:
            InvalidInputError: A limit is negative or absurd.
            NotFoundError: There is no such device.
        """
        return self._database.write(
            lambda session: goals.set_limits(session, device_id, memory_budget_bytes, transfer)
        )

    def record_state(
        self,
        device_id: str,
        state: bytes,
        proven: tuple[str, int] | None,
        now_ms: int,
        *,
        further: Sequence[tuple[str, int]] = (),
        seen_generation: int = 0,
    ) -> DeviceRecord | None:
        """The device's last report is known.

        Args:
            device_id: Who reports.
            state: A serialized DeviceState of at most 256 KiB.
            proven: Model and version that it names as proven; of several the first.
            further: The others.
            now_ms: When the report came.
            seen_generation: The assignment's generation that it names. Where it is above the registry's own
                (which was restored, say), the registry's rises past it, and the assignment must go out again.

        Returns:
            The device after it; None for one that is not enrolled, whose report is not kept.

        Raises:
            InvalidInputError: The state is too large.
        """
        return self._database.write(
            lambda session: devices.record_state(
                session,
                device_id,
                state,
                proven,
                further=further,
                now_ms=now_ms,
                seen_generation=seen_generation,
            )
        )

    def record_presence(
        self,
        device_id: str,
        session_id: str,
        online: bool,  # noqa: FBT001  the report itself, not a switch
        now_ms: int,
    ) -> DeviceRecord | None:
        """Whether the device is there is known; the farewell of an older session changes nothing.

        Returns:
            The device after it; None for one that is not enrolled.
        """
        return self._database.write(
            lambda session: devices.record_presence(session, device_id, session_id, now_ms, online=online)
        )

    def record_ledger(
        self,
        device_id: str,
        ledger_id: str,
        totals: Sequence[TransferRecord],
        reached: Sequence[ReachedRecord],
        now_ms: int,
    ) -> bool:
        """The device's cumulative byte counts and levels are known; counts never fall.

        Returns:
            False for a device that is not enrolled, whose counts are not kept.

        Raises:
            CapacityError: The device has had too many ledgers.
        """
        return self._database.write(
            lambda session: byte_counts.record(session, device_id, ledger_id, totals, reached, now_ms=now_ms)
        )

    def transfers(self, model: str = "") -> list[TransferRecord]:
        """All byte counts, or those of one model."""
        return self._database.read(lambda session: byte_counts.transfers(session, model))

    def reached(self, model: str = "") -> list[ReachedRecord]:
        """All levels reached, or those of one model."""
        return self._database.read(lambda session: byte_counts.reached(session, model))

    def moved_hours(self, model: str = "") -> list[HourRecord]:
        """Bytes by hour and kind, oldest first; over all models, or of one."""
        return self._database.read(lambda session: moved_hours.moved_hours(session, model))
