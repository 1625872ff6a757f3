"""Deltas in the tables: made once for two versions, and gone with either."""

from __future__ import annotations

from collections.abc import Collection

from sqlalchemy import delete, exists, or_, select
from sqlalchemy.orm import Session

from common.errors import NotFoundError
from server.registry.records import DeltaRecord
from server.registry.tables import DeltaRow, VersionRow


def between(session: Session, held_digest: str, wanted_digest: str) -> list[DeltaRecord]:
    """All that is known of a version's blobs as deltas against another version, block by block."""
    rows = session.scalars(
        select(DeltaRow)
        .where(DeltaRow.held_digest == held_digest, DeltaRow.wanted_digest == wanted_digest)
        .order_by(DeltaRow.block, DeltaRow.first_blob, DeltaRow.last_blob)
    )
    return [_record(row) for row in rows]


def record(session: Session, delta: DeltaRecord) -> DeltaRecord:
    """The delta is in the tables, unless one for the same blobs is there already; which one is.

    Raises:
        NotFoundError: One of the versions is gone.
    """
    for digest in sorted({delta.held_digest, delta.wanted_digest}):
        _hold(session, digest)
    key = (delta.wanted_digest, delta.held_digest, delta.block, delta.first, delta.last)
    row = session.get(DeltaRow, key)
    if row is None:
        row = DeltaRow(
            wanted_digest=delta.wanted_digest,
            held_digest=delta.held_digest,
            block=delta.block,
            first_blob=delta.first,
            last_blob=delta.last,
            digest=delta.delta_digest,
            size_bytes=delta.size_bytes,
        )
        session.add(row)
        session.flush()
    return _record(row)


def withdraw(session: Session, manifest_digest: str) -> None:
    """No delta from or to the version is named any more."""
    session.execute(
        delete(DeltaRow).where(
            or_(DeltaRow.held_digest == manifest_digest, DeltaRow.wanted_digest == manifest_digest)
        )
    )


def names_blob(session: Session, digest: str) -> bool:
    """Whether the blob is a delta."""
    return bool(digest) and bool(session.scalar(select(exists().where(DeltaRow.digest == digest))))


def named_among(session: Session, digests: Collection[str]) -> frozenset[str]:
    """Those of the digests that are deltas."""
    query = select(DeltaRow.digest).where(DeltaRow.digest.in_(digests), DeltaRow.size_bytes > 0)
    return frozenset(session.scalars(query.distinct()))


def named_blobs(session: Session) -> frozenset[str]:
    """Every delta."""
    return frozenset(session.scalars(select(DeltaRow.digest).where(DeltaRow.size_bytes > 0).distinct()))


def _hold(session: Session, manifest_digest: str) -> None:
    """The version is there, and stays until this transaction ends."""
    query = select(VersionRow.model).where(
        VersionRow.manifest_digest == manifest_digest, ~VersionRow.withdrawn
    )
    if session.scalar(query.with_for_update(read=True)) is None:
        raise NotFoundError(f"No version has the manifest {manifest_digest[:12]} any more.")


def _record(row: DeltaRow) -> DeltaRecord:
    return DeltaRecord(
        held_digest=row.held_digest,
        wanted_digest=row.wanted_digest,
        block=row.block,
        first=row.first_blob,
        last=row.last_blob,
        delta_digest=row.digest,
        size_bytes=row.size_bytes,
    )
