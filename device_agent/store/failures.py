"""Errors of the disk and the database as the project's own, converted here and nowhere else."""

from __future__ import annotations

import contextlib
import errno
import sqlite3
from collections.abc import Generator

from common.errors import CapacityError, IntegrityError


class DiskError(CapacityError):
    """The store's disk, not the memory, does not suffice."""


@contextlib.contextmanager
def disk_errors() -> Generator[None, None, None]:
    """A disk that refuses to be written is a lack of capacity.

    Raises:
        DiskError: It is full, read-only or failing.
    """
    try:
        yield
    except OSError as error:
        full = error.errno in {errno.ENOSPC, errno.EDQUOT}
        raise DiskError(
            f"The store cannot be written: {error.strerror or error}.",
            advice="Free some space on its disk." if full else "See to its disk and to who may write there.",
        ) from error


@contextlib.contextmanager
def database_errors() -> Generator[None, None, None]:
    """A ledger that refuses to be written is a lack of capacity; one that makes no sense is damaged.

    Raises:
        DiskError: The disk is full, read-only or failing.
        IntegrityError: The file is no sound database.
    """
    try:
        yield
    except sqlite3.OperationalError as error:
        raise DiskError(
            f"The ledger cannot be written: {error}.",
            advice="Free some space on its disk, and see to who may write there.",
        ) from error
    except sqlite3.DatabaseError as error:
        raise IntegrityError(f"The ledger is damaged: {error}.") from error
