"""Tables of the registry. They never leave this folder: the repository hands out records.

All times are milliseconds since 1970-01-01 UTC.
"""

from __future__ import annotations

from typing import Any, Final

from sqlalchemy import (
    JSON,
    BigInteger,
    ForeignKey,
    ForeignKeyConstraint,
    Index,
    LargeBinary,
    MetaData,
    String,
)
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, relationship

_NAMING: Final = {
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "ck": "ck_%(table_name)s_%(constraint_name)s",
    "fk": "fk_%(table_name)s_%(column_0_N_name)s_%(referred_table_name)s",
    "pk": "pk_%(table_name)s",
}
_DIGEST: Final = String(64)
_NAME: Final = String(64)


class Table(DeclarativeBase):
    """Base of all tables; constraints have names, so that migrations can speak of them."""

    metadata = MetaData(naming_convention=_NAMING)


class VersionRow(Table):
    """A version. The row outlives the version, so that its number is never used again and savings stay known.

    Attributes:
        manifest: Canonical bytes; None once withdrawn.
        sizes: A SizeReport; levels are text keys.
        blobs: Different blobs that the manifest names.
    """

    __tablename__ = "versions"

    model: Mapped[str] = mapped_column(_NAME, primary_key=True)
    version: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    levels: Mapped[list[int]] = mapped_column(JSON)
    rounding: Mapped[str] = mapped_column(_NAME)
    manifest_digest: Mapped[str] = mapped_column(_DIGEST, unique=True)
    manifest_size_bytes: Mapped[int] = mapped_column(BigInteger)
    manifest: Mapped[bytes | None] = mapped_column(LargeBinary, deferred=True)
    created_unix_ms: Mapped[int] = mapped_column(BigInteger, index=True)
    sizes: Mapped[dict[str, Any]] = mapped_column(JSON)
    blocks: Mapped[int]
    blobs: Mapped[int]
    withdrawn: Mapped[bool] = mapped_column(default=False)


class VersionBlobRow(Table):
    """A blob that a version names."""

    __tablename__ = "version_blobs"
    __table_args__ = (
        ForeignKeyConstraint(["model", "version"], ["versions.model", "versions.version"]),
        Index(None, "model", "version"),
    )

    digest: Mapped[str] = mapped_column(_DIGEST, primary_key=True)
    model: Mapped[str] = mapped_column(_NAME, primary_key=True)
    version: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)


class DeltaRow(Table):
    """Neighbouring blobs of a version as a delta against another version; gone with either of the two.

    Attributes:
        digest: Of the delta; empty where it is not worth its while, with a size of 0.
    """

    __tablename__ = "deltas"

    wanted_digest: Mapped[str] = mapped_column(
        _DIGEST, ForeignKey("versions.manifest_digest"), primary_key=True
    )
    held_digest: Mapped[str] = mapped_column(
        _DIGEST, ForeignKey("versions.manifest_digest"), primary_key=True, index=True
    )
    block: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    first_blob: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    last_blob: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    digest: Mapped[str] = mapped_column(_DIGEST, index=True)
    size_bytes: Mapped[int] = mapped_column(BigInteger)


class DeviceRow(Table):
    """A device id. The row outlives the enrolment, so that generations never fall.

    Attributes:
        key_sha256: Digest of the enrolment key; None once forgotten.
        state: Serialized DeviceState; None before the first report.
        assigned: What the server wants, in the operator's order.
        bandwidth_bytes_per_second, monthly_bytes, metered_rule, quiet_hours: The operator's limits of
            transfer, as in ``TransferLimits``.
    """

    __tablename__ = "devices"

    device_id: Mapped[str] = mapped_column(_NAME, primary_key=True)
    key_sha256: Mapped[str | None] = mapped_column(_DIGEST)
    agent_version: Mapped[str] = mapped_column(String(64), default="")
    platform: Mapped[str] = mapped_column(String(64), default="")
    enrolled_unix_ms: Mapped[int] = mapped_column(BigInteger)
    last_seen_unix_ms: Mapped[int] = mapped_column(BigInteger)
    online: Mapped[bool] = mapped_column(default=False)
    session_id: Mapped[str] = mapped_column(String(64), default="")
    state: Mapped[bytes | None] = mapped_column(LargeBinary)
    proven_model: Mapped[str | None] = mapped_column(_NAME)
    proven_version: Mapped[int | None]
    assignment_generation: Mapped[int] = mapped_column(BigInteger, default=0)
    memory_budget_bytes: Mapped[int] = mapped_column(BigInteger, default=0)
    limits_generation: Mapped[int] = mapped_column(BigInteger, default=0)
    bandwidth_bytes_per_second: Mapped[int] = mapped_column(BigInteger, default=0)
    monthly_bytes: Mapped[int] = mapped_column(BigInteger, default=0)
    metered_rule: Mapped[str] = mapped_column(String(16), default="")
    quiet_hours: Mapped[str] = mapped_column(String(16), default="")
    assigned: Mapped[list[AssignedVersionRow]] = relationship(
        lazy="selectin", cascade="all, delete-orphan", order_by=lambda: AssignedVersionRow.place
    )


class AssignedVersionRow(Table):
    """A version that a device shall run.

    Attributes:
        place: Rises in the operator's order.
    """

    __tablename__ = "assigned_versions"
    __table_args__ = (
        ForeignKeyConstraint(["model", "version"], ["versions.model", "versions.version"]),
        Index(None, "model", "version"),
    )

    device_id: Mapped[str] = mapped_column(_NAME, ForeignKey("devices.device_id"), primary_key=True)
    model: Mapped[str] = mapped_column(_NAME, primary_key=True)
    version: Mapped[int]
    place: Mapped[int]
    max_level: Mapped[int]
    allow_older: Mapped[bool]
    issued_unix_ms: Mapped[int] = mapped_column(BigInteger)


class NewestProvenRow(Table):
    """The newest version of a model that a device has proven since it was enrolled."""

    __tablename__ = "newest_proven"

    device_id: Mapped[str] = mapped_column(_NAME, ForeignKey("devices.device_id"), primary_key=True)
    model: Mapped[str] = mapped_column(_NAME, primary_key=True)
    version: Mapped[int]


class TransferRow(Table):
    """Bytes moved so far; outlives the device's enrolment."""

    __tablename__ = "transfers"
    __table_args__ = (
        ForeignKeyConstraint(["model", "version"], ["versions.model", "versions.version"]),
        Index(None, "model", "version"),
    )

    device_id: Mapped[str] = mapped_column(_NAME, primary_key=True)
    ledger_id: Mapped[str] = mapped_column(_NAME, primary_key=True)
    model: Mapped[str] = mapped_column(_NAME, primary_key=True)
    version: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    kind: Mapped[str] = mapped_column(String(16), primary_key=True)
    level: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    payload_bytes: Mapped[int] = mapped_column(BigInteger)
    blobs: Mapped[int] = mapped_column(BigInteger)


class ReachedRow(Table):
    """A level at which a device has run a version; outlives its enrolment."""

    __tablename__ = "levels_reached"
    __table_args__ = (
        ForeignKeyConstraint(["model", "version"], ["versions.model", "versions.version"]),
        Index(None, "model", "version"),
    )

    device_id: Mapped[str] = mapped_column(_NAME, primary_key=True)
    ledger_id: Mapped[str] = mapped_column(_NAME, primary_key=True)
    model: Mapped[str] = mapped_column(_NAME, primary_key=True)
    version: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    level: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    since_unix_ms: Mapped[int] = mapped_column(BigInteger)


class HourRow(Table):
    """Bytes of a model and kind that the fleet moved in an hour, by when their reports came.

    Attributes:
        hour_unix_ms: Start of the hour; of the day, UTC, where it is more than a year ago.
    """

    __tablename__ = "moved_hours"

    hour_unix_ms: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    model: Mapped[str] = mapped_column(_NAME, primary_key=True)
    kind: Mapped[str] = mapped_column(String(16), primary_key=True)
    moved_bytes: Mapped[int] = mapped_column(BigInteger)
