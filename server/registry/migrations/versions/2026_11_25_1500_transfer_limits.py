"""transfer limits.

Revision: 2026_11_25_1500. Follows: 2026_11_23_2230.
"""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "2026_11_25_1500"
down_revision = "2026_11_23_2230"
branch_labels = None
depends_on = None


def _columns() -> list[sa.Column[Any]]:
    """With defaults for the devices that there are already; new rows say what they mean."""
    return [
        sa.Column("bandwidth_bytes_per_second", sa.BigInteger(), nullable=False, server_default="0"),
        sa.Column("monthly_bytes", sa.BigInteger(), nullable=False, server_default="0"),
        sa.Column("metered_rule", sa.String(length=16), nullable=False, server_default=""),
        sa.Column("quiet_hours", sa.String(length=16), nullable=False, server_default=""),
    ]


def upgrade() -> None:
    with op.batch_alter_table("devices") as devices:
        for column in _columns():
            devices.add_column(column)
    with op.batch_alter_table("devices") as devices:
        for column in _columns():
            devices.alter_column(column.name, existing_type=column.type, server_default=None)


def downgrade() -> None:
    with op.batch_alter_table("devices") as devices:
        for column in reversed(_columns()):
            devices.drop_column(column.name)
