"""Versions in the tables: numbered, added whole, withdrawn."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Any, Final

from sqlalchemy import delete, exists, func, select
from sqlalchemy.orm import Session

from common.digest import sha256_hex
from common.errors import ConflictError, InvalidInputError, NotFoundError
from common.manifest import to_json
from common.sizes import SizeReport
from server.registry import deltas
from server.registry.records import NewVersion, VersionRecord
from server.registry.tables import AssignedVersionRow, VersionBlobRow, VersionRow

_SHOWN: Final = 10


def add(session: Session, model: str, make: Callable[[int], NewVersion], now_ms: int) -> VersionRecord:
    """The next version of a model is in the tables, with its manifest and the blobs that it names."""
    _queue_up(session, model)
    newest = session.scalar(select(func.max(VersionRow.version)).where(VersionRow.model == model))
    number = (newest or 0) + 1
    new = make(number)
    manifest = new.manifest
    if (manifest.model, manifest.version) != (model, number):
        raise ValueError(f"manifest of {manifest.model}:{manifest.version} made for {model}:{number}")
    data = to_json(manifest)
    digests = {ref.digest for ref in manifest.blob_refs()}
    row = VersionRow(
        model=model,
        version=number,
        levels=list(manifest.levels),
        rounding=manifest.rounding,
        manifest_digest=sha256_hex(data),
        manifest_size_bytes=len(data),
        manifest=data,
        created_unix_ms=now_ms,
        sizes=_sizes_tree(new.sizes),
        blocks=len(manifest.blocks),
        blobs=len(digests),
        withdrawn=False,
    )
    session.add(row)
    session.flush()
    session.add_all(VersionBlobRow(digest=digest, model=model, version=number) for digest in sorted(digests))
    return version_record(row)


def _queue_up(session: Session, model: str) -> None:
    """Others that add to this model wait until this transaction ends; SQLite has one writer anyway."""
    if session.get_bind().dialect.name == "postgresql":
        session.execute(select(func.pg_advisory_xact_lock(func.hashtext(model))))


def find(session: Session, model: str, version: int, *, lock: bool = False, hold: bool = False) -> VersionRow:
    """The row of a version; 0 stands for the newest.

    Args:
        session: The transaction.
        model: A model.
        version: A number.
        lock: Nobody else may use the version until the transaction ends.
        hold: Nobody may withdraw it until then. Those who hold it, and those whose new rows name it, do not
            wait for each other; with ``lock``, an assignment and a report would wait in a circle.

    Raises:
        NotFoundError: There is none; the message says which there are.
    """
    query = select(VersionRow).where(VersionRow.model == model, ~VersionRow.withdrawn)
    query = query.where(VersionRow.version == version) if version else query
    query = query.order_by(VersionRow.version.desc()).limit(1)
    row = session.scalar(query.with_for_update(read=not lock) if lock or hold else query)
    if row is None:
        raise _missing(session, model, version)
    return row


def _missing(session: Session, model: str, version: int) -> NotFoundError:
    numbers = session.scalars(
        select(VersionRow.version)
        .where(VersionRow.model == model, ~VersionRow.withdrawn)
        .order_by(VersionRow.version.desc())
        .limit(_SHOWN)
    ).all()
    if numbers:
        known = ", ".join(str(number) for number in numbers)
        return NotFoundError(f"Model {model} has no version {version}.", advice=f"There is {known}.")
    models = session.scalars(
        select(VersionRow.model)
        .where(~VersionRow.withdrawn)
        .distinct()
        .order_by(VersionRow.model)
        .limit(_SHOWN)
    ).all()
    advice = f"There is {', '.join(models)}." if models else "Push one with `nestfleet push`."
    return NotFoundError(f"There is no model {model}.", advice=advice)


def manifest_bytes(session: Session, digest: str) -> bytes:
    """The canonical manifest with this digest.

    Raises:
        NotFoundError: No version has it.
    """
    data = session.scalar(
        select(VersionRow.manifest).where(VersionRow.manifest_digest == digest, ~VersionRow.withdrawn)
    )
    if data is None:
        raise NotFoundError(
            f"No version has the manifest {digest[:12]}.", advice="Assign one that `nestfleet models` lists."
        )
    return data


def newest_first(session: Session, limit: int) -> list[VersionRecord]:
    """The versions added last, by model and then from the newest down."""
    rows = session.scalars(
        select(VersionRow)
        .where(~VersionRow.withdrawn)
        .order_by(VersionRow.created_unix_ms.desc(), VersionRow.model, VersionRow.version.desc())
        .limit(limit)
    )
    return sorted((version_record(row) for row in rows), key=lambda record: (record.model, -record.version))


def withdraw(session: Session, model: str, version: int) -> None:
    """The version is gone, with its deltas, and names no blob any more; number and sizes stay.

    Raises:
        InvalidInputError: No number is given.
        NotFoundError: There is no such version.
        ConflictError: It is assigned to devices.
    """
    if version < 1:
        raise InvalidInputError("Name the version to delete by its number.")
    row = find(session, model, version, lock=True)
    holders = session.scalars(
        select(AssignedVersionRow.device_id)
        .where(AssignedVersionRow.model == model, AssignedVersionRow.version == version)
        .order_by(AssignedVersionRow.device_id)
        .limit(_SHOWN)
    ).all()
    if holders:
        raise ConflictError(
            f"{model}:{version} is assigned to {', '.join(holders)}.",
            advice="Assign another version to them, or forget them, first.",
        )
    row.withdrawn = True
    row.manifest = None
    session.execute(
        delete(VersionBlobRow).where(VersionBlobRow.model == model, VersionBlobRow.version == version)
    )
    deltas.withdraw(session, row.manifest_digest)


def names_blob(session: Session, digest: str) -> bool:
    """Whether a version names the blob, or it is a delta between two."""
    named = select(exists().where(VersionBlobRow.digest == digest))
    return bool(session.scalar(named)) or deltas.names_blob(session, digest)


def named_among(session: Session, digests: Collection[str]) -> frozenset[str]:
    """Those of the digests that a version names, or that are deltas between two."""
    named = session.scalars(
        select(VersionBlobRow.digest).where(VersionBlobRow.digest.in_(digests)).distinct()
    )
    return frozenset(named) | deltas.named_among(session, digests)


def named_blobs(session: Session) -> frozenset[str]:
    """Every blob that a version names, and every delta between two."""
    return frozenset(session.scalars(select(VersionBlobRow.digest).distinct())) | deltas.named_blobs(session)


def all_sizes(session: Session) -> dict[tuple[str, int], SizeReport]:
    """What every version weighs, withdrawn ones too."""
    rows = session.execute(select(VersionRow.model, VersionRow.version, VersionRow.sizes))
    return {(model, version): _sizes(tree) for model, version, tree in rows}


def version_record(row: VersionRow) -> VersionRecord:
    """The record of a row."""
    return VersionRecord(
        model=row.model,
        version=row.version,
        levels=tuple(row.levels),
        rounding=row.rounding,
        manifest_digest=row.manifest_digest,
        manifest_size_bytes=row.manifest_size_bytes,
        created_unix_ms=row.created_unix_ms,
        sizes=_sizes(row.sizes),
        blocks=row.blocks,
        blobs=row.blobs,
    )


def _sizes_tree(sizes: SizeReport) -> dict[str, Any]:
    return {
        "fp32_bytes": sizes.fp32_bytes,
        "int8_bytes": sizes.int8_bytes,
        "separate_bytes": {str(level): size for level, size in sizes.separate_bytes.items()},
        "paper_high_bytes": sizes.paper_high_bytes,
        "paper_low_bytes": sizes.paper_low_bytes,
        "base_bytes": sizes.base_bytes,
        "shard_bytes": {str(level): size for level, size in sizes.shard_bytes.items()},
        "metadata_bytes": sizes.metadata_bytes,
        "weights": sizes.weights,
        "floats": sizes.floats,
    }


def _sizes(tree: Mapping[str, Any]) -> SizeReport:
    by_level = {
        key: {int(level): size for level, size in tree[key].items()}
        for key in ("separate_bytes", "shard_bytes")
    }
    return SizeReport(**{**tree, **by_level})
