"""Runs migrations on the connection that ``server.registry.migrate`` hands over."""

from __future__ import annotations

from alembic import context

from server.registry.tables import Table


def run() -> None:
    """All migrations asked for have run, in the transaction that the connection is in."""
    context.configure(
        connection=context.config.attributes["connection"],
        target_metadata=Table.metadata,
        render_as_batch=True,
        compare_type=True,
        compare_server_default=True,
    )
    with context.begin_transaction():
        context.run_migrations()


run()
