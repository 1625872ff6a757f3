"""The memory budget for weights, and its changes at run time: sensors, a file, a signal, the operator."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from common.byte_sizes import format_bytes, parse_bytes
from common.errors import ConfigError
from device_agent.blocking import run_blocking
from device_agent.residency.board_limits import BoardLimits
from device_agent.update.allowance import Allowance, Limit, TransferHold
from device_agent.update.watched_file import WatchedFile

_WATCH_SECONDS: Final = 1.0
_log = logging.getLogger(__name__)


class Budget:
    """Which budget holds: the operator's limit, else the file's, else the fixed one, else what the board has.

    Whoever says how much memory there is, the board's heat, battery and disk say whether anything may go up,
    and whether shards may come.

    Args:
        fixed_bytes: From the settings; 0 where the board decides.
        board: What the board allows.
        file: Holds a size such as ``12 MiB`` when somebody on the board sets one; None without.
        on_change: Called when something else holds.
    """

    def __init__(
        self,
        *,
        fixed_bytes: int,
        board: BoardLimits,
        file: Path | None,
        on_change: Callable[[], None],
    ) -> None:
        self._fixed_bytes = fixed_bytes
        self._board = board
        self._readings = board.read()
        self._file = WatchedFile(file) if file is not None else None
        self._on_change = on_change
        self._file_bytes = 0
        self._limit_bytes = 0
        self._bytes = 0
        self._base_only = False
        self._shards_may_come = True
        self.read_again()

    @property
    def bytes(self) -> int:
        """The budget that holds."""
        return self._bytes

    @property
    def limit_bytes(self) -> int:
        """The operator's limit; 0 for none."""
        return self._limit_bytes

    def cap(self, max_level: int) -> int:
        """The highest level that holds where ``max_level`` is wanted; 0 for no limit."""
        limits = [level for level in (max_level, self._board.held.max_level) if level]
        return min(limits, default=0)

    def narrow(self, allowance: Allowance) -> Allowance:
        """What may be transferred, without shards where the board is in no state to take any."""
        if self._shards_may_come or allowance.shard_hold is not None:
            return allowance
        why = "; ".join(self._board.why())
        return replace(allowance, shard_hold=TransferHold(Limit.BOARD, f"Only bases may come: {why}."))

    def tree(self) -> dict[str, Any]:
        """What the board says, and what follows from it, as JSON can carry it."""
        return self._board.tree()

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
            self._readings = await run_blocking(self._board.read)
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
        said_bytes = self._limit_bytes or self._file_bytes or self._fixed_bytes
        held = self._board.settle(self._readings, memory_counts=not said_bytes)
        holds = (said_bytes or held.memory_bytes, bool(held.max_level), held.fetch)
        if holds == (self._bytes, self._base_only, self._shards_may_come):
            return
        if holds[0] != self._bytes:
            _log.info("The memory budget for weights is %s", format_bytes(holds[0]))
        if holds[1:] != (self._base_only, self._shards_may_come):
            _log.info("The board allows %s", "; ".join(self._board.why()) or "everything again")
        self._bytes, self._base_only, self._shards_may_come = holds
        self._on_change()
