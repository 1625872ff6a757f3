"""The memory budget for weights, and its changes at run time: a file, a signal, the operator."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Final

from common.byte_sizes import format_bytes, parse_bytes
from common.errors import ConfigError
from device_agent.update.watched_file import WatchedFile

_WATCH_SECONDS: Final = 1.0
_log = logging.getLogger(__name__)


class Budget:
    """Which budget holds: the operator's limit, else the file's, else the fixed one, else what the board has.

    Args:
        fixed_bytes: From the settings; 0 where the board decides.
        board_bytes: What the board can spare now.
        file: Holds a size such as ``12 MiB`` when somebody on the board sets one; None without.
        on_change: Called when another budget holds.
    """

    def __init__(
        self,
        *,
        fixed_bytes: int,
        board_bytes: Callable[[], int],
        file: Path | None,
        on_change: Callable[[], None],
    ) -> None:
        self._fixed_bytes = fixed_bytes
        self._board_bytes = board_bytes
        self._file = WatchedFile(file) if file is not None else None
        self._on_change = on_change
        self._file_bytes = 0
        self._limit_bytes = 0
        self._bytes = 0
        self.read_again()

    @property
    def bytes(self) -> int:
        """The budget that holds."""
        return self._bytes

    @property
    def limit_bytes(self) -> int:
        """The operator's limit; 0 for none."""
        return self._limit_bytes

    def limit(self, limit_bytes: int) -> None:
        """The operator's limit; 0 lifts it."""
        self._limit_bytes = limit_bytes
        self._settle()

    def read_again(self) -> None:
        """The file counts as it is now, whether it looks changed or not."""
        if self._file is not None:
            self._file.forget()
        self._look()

    async def watch(self) -> None:
        """Follow the file and the board until cancelled."""
        while True:
            await asyncio.sleep(_WATCH_SECONDS)
            self._look()

    def _look(self) -> None:
        if self._file is not None:
            self._look_at(self._file)
        self._settle()

    def _look_at(self, file: WatchedFile) -> None:
        try:
            text = file.changed()
            if text is not None:
                self._file_bytes = parse_bytes(text) if text else 0
        except FileNotFoundError:
            self._file_bytes = 0
        except (OSError, ConfigError) as error:
            _log.warning("The budget file %s does not count: %s", file.path, error)

    def _settle(self) -> None:
        own = self._file_bytes or self._fixed_bytes or self._board_bytes()
        held = self._limit_bytes or own
        if held != self._bytes:
            _log.info("The memory budget for weights is %s", format_bytes(held))
            self._bytes = held
            self._on_change()
