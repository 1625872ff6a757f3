"""The record on disk: every change is durable before anybody acts on it."""

from __future__ import annotations

import asyncio
import secrets
from dataclasses import replace
from pathlib import Path
from typing import Any

from common.digest import DIGEST_BYTES
from common.errors import ConfigError, IntegrityError
from common.files import write_atomically
from device_agent.blocking import run_blocking
from device_agent.store.failures import disk_errors
from device_agent.store.record_json import decode_record, encode_record
from device_agent.store.records import AgentRecord


class StateFile:
    """One JSON file with the agent's record.

    Attributes:
        record: As it is on disk.
    """

    def __init__(self, path: Path, record: AgentRecord) -> None:
        self._path = path
        self._changing = asyncio.Lock()
        self.record = record

    @classmethod
    def open(cls, path: Path, device_id: str) -> StateFile:
        """The file, made at the first start with a key of its own.

        Args:
            path: Where it is.
            device_id: What the settings say; empty: the file's, or for a new file a random one.

        Raises:
            ConfigError: The file belongs to another device id.
            IntegrityError: The file is damaged.
        """
        if not path.exists():
            name = device_id or f"device-{secrets.token_hex(4)}"
            record = AgentRecord(name, secrets.token_hex(DIGEST_BYTES))
            with disk_errors():
                write_atomically(path, encode_record(record))
            return cls(path, record)
        record = read_record(path)
        if device_id and device_id != record.device_id:
            raise ConfigError(
                f"The store {path.parent} belongs to {record.device_id}, not to {device_id}.",
                advice="Take another store_dir, or the old device_id.",
            )
        return cls(path, record)

    async def change(self, **changes: Any) -> AgentRecord:
        """The new record, on disk and in ``record``; neither has changed when this fails.

        Raises:
            CapacityError: The disk does not take it.
        """
        async with self._changing:
            record = replace(self.record, **changes)
            if record != self.record:
                await run_blocking(lambda: self._write(record))
            return record

    async def change_slot(self, model: str, **changes: Any) -> AgentRecord:
        """As ``change``, of what is remembered of one model.

        Raises:
            CapacityError: The disk does not take it.
        """
        async with self._changing:
            slots = self.record.with_slot(replace(self.record.slot(model), **changes))
            record = replace(self.record, slots=slots)
            if record != self.record:
                await run_blocking(lambda: self._write(record))
            return record

    def _write(self, record: AgentRecord) -> None:
        with disk_errors():
            write_atomically(self._path, encode_record(record))
        self.record = record


def read_record(path: Path) -> AgentRecord:
    """The record in a file.

    Raises:
        IntegrityError: The file cannot be read or is damaged.
    """
    advice = "Delete the store and run `nestfleet devices --forget ID` to begin anew."
    try:
        return decode_record(path.read_bytes())
    except OSError as error:
        raise IntegrityError(f"{path} cannot be read: {error.strerror}.", advice=advice) from error
    except IntegrityError as error:
        raise IntegrityError(f"{path}: {error.message}", advice=advice) from error
