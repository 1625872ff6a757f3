"""assigned versions.

Revision: 2026_11_25_1900. Follows: 2026_11_25_1520.
"""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "2026_11_25_1900"
down_revision = "2026_11_25_1520"
branch_labels = None
depends_on = None

_MOVED: dict[str, sa.types.TypeEngine[Any]] = {
    "max_level": sa.Integer(),
    "allow_older": sa.Boolean(),
    "issued_unix_ms": sa.BigInteger(),
}


def upgrade() -> None:
    op.create_table(
        "assigned_versions",
        sa.Column("device_id", sa.String(length=64), nullable=False),
        sa.Column("model", sa.String(length=64), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("place", sa.Integer(), nullable=False),
        sa.Column("max_level", sa.Integer(), nullable=False),
        sa.Column("allow_older", sa.Boolean(), nullable=False),
        sa.Column("issued_unix_ms", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["device_id"], ["devices.device_id"], name=op.f("fk_assigned_versions_device_id_devices")
        ),
        sa.ForeignKeyConstraint(
            ["model", "version"],
            ["versions.model", "versions.version"],
            name=op.f("fk_assigned_versions_model_version_versions"),
        ),
        sa.PrimaryKeyConstraint("device_id", "model", name=op.f("pk_assigned_versions")),
    )
    with op.batch_alter_table("assigned_versions") as assigned:
        assigned.create_index(
            assigned.f("ix_assigned_versions_model_version"), ["model", "version"], unique=False
        )
    op.execute(
        "INSERT INTO assigned_versions"
        " (device_id, model, version, place, max_level, allow_older, issued_unix_ms)"
        " SELECT device_id, assigned_model, assigned_version, 0, max_level, allow_older, issued_unix_ms"
        " FROM devices WHERE assigned_model IS NOT NULL"
    )
    with op.batch_alter_table("devices") as devices:
        devices.drop_index(devices.f("ix_devices_assigned_model_assigned_version"))
        devices.drop_constraint(
            devices.f("fk_devices_assigned_model_assigned_version_versions"), type_="foreignkey"
        )
        for name in ("assigned_model", "assigned_version", *_MOVED):
            devices.drop_column(name)


def downgrade() -> None:
    """Of several versions the first stays assigned."""
    with op.batch_alter_table("devices") as devices:
        devices.add_column(sa.Column("assigned_model", sa.String(length=64), nullable=True))
        devices.add_column(sa.Column("assigned_version", sa.Integer(), nullable=True))
        devices.add_column(sa.Column("max_level", sa.Integer(), nullable=False, server_default="0"))
        devices.add_column(sa.Column("allow_older", sa.Boolean(), nullable=False, server_default=sa.false()))
        devices.add_column(sa.Column("issued_unix_ms", sa.BigInteger(), nullable=False, server_default="0"))
    sources = {"assigned_model": "model", "assigned_version": "version", **{name: name for name in _MOVED}}
    for name, source in sources.items():
        op.execute(
            f"UPDATE devices SET {name} = (SELECT {source} FROM assigned_versions"  # noqa: S608  names of ours
            " WHERE assigned_versions.device_id = devices.device_id AND place = 0)"
            " WHERE device_id IN (SELECT device_id FROM assigned_versions WHERE place = 0)"
        )
    with op.batch_alter_table("devices") as devices:
        for name, kind in _MOVED.items():
            devices.alter_column(name, existing_type=kind, server_default=None)
        devices.create_foreign_key(
            devices.f("fk_devices_assigned_model_assigned_version_versions"),
            "versions",
            ["assigned_model", "assigned_version"],
            ["model", "version"],
        )
        devices.create_index(
            devices.f("ix_devices_assigned_model_assigned_version"), ["assigned_model", "assigned_version"]
        )
    op.drop_table("assigned_versions")
