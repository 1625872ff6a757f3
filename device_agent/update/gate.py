"""The gate that every bulk byte passes: opens and closes as limits, clock, month and link say."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Generator
from typing import Final, Protocol

from common.clock import Clock
from common.transfer_limits import TransferLimits, merged
from device_agent.store.store import Store
from device_agent.update.allowance import Allowance, Circumstances, HeldError, Limit, allowance
from device_agent.update.metered import MeteredLink
from device_agent.update.month_meter import MonthMeter

_WATCH_SECONDS: Final = 1.0
_log = logging.getLogger(__name__)


class UpdateBudget(Protocol):
    """What is asked before a whole blob is fetched where a delta was wanted."""

    def affords(self, needed_bytes: int) -> bool:
        """Whether the month's budget leaves so many bytes."""

    def refuse(self, needed_bytes: int) -> HeldError:
        """The error to raise where it does not; blobs are held back until the budget leaves so many bytes."""


class TransferGate:
    """Knows the limits that hold, whoever set them, and what they allow at this moment.

    Args:
        store: Has the ledger, and the operator's limits from before.
        clock: Time of day and month.
        own: The device's own limits.
        metered: Whether the link is metered.
        on_change: Called when the limits, or what they allow, have changed.

    Attributes:
        operator: The operator's limits.
        metered: Whether the link is metered, as of the last look.
    """

    def __init__(
        self,
        store: Store,
        clock: Clock,
        *,
        own: TransferLimits,
        metered: MeteredLink,
        on_change: Callable[[], None],
    ) -> None:
        self._clock = clock
        self._own = own
        self._link = metered
        self._on_change = on_change
        self._meter = MonthMeter(store, clock)
        self._planned_bytes = 0
        self._with_shards = False
        self._least_bytes = 1
        self._fallback = False
        self.operator = store.state.record.transfer_limits
        self.metered = metered.look()
        self._told = self._allowance()

    @property
    def limits(self) -> TransferLimits:
        """Limits as they hold now."""
        return merged(self._own, self.operator)

    @property
    def month_bytes(self) -> int:
        """Bytes of all kinds in this calendar month."""
        return self._meter.bytes()

    def limit(self, operator: TransferLimits) -> None:
        """The operator's limits; where they say nothing, the device's own hold."""
        if operator != self.operator:
            self.operator = operator
            _log.info("Limits of transfer: %s", self.limits)
            self._on_change()

    def read_again(self) -> None:
        """What says that the link is metered counts as it is now."""
        self._link.read_again()
        self._look()

    def allowance(self) -> Allowance:
        """What may go now; ``on_change`` is called once it is something else."""
        self._told = self._allowance()
        return self._told

    @contextlib.contextmanager
    def transfer(self, planned_bytes: int, *, with_shards: bool) -> Generator[None, None, None]:
        """Blobs come while the body runs.

        Args:
            planned_bytes: How many bytes.
            with_shards: Whether some of them are more than metadata and bases.

        Raises:
            HeldError: They may not.
        """
        self.look_anew()
        self._planned_bytes, self._with_shards = planned_bytes, with_shards
        held = False
        try:
            self._check()
            yield
        except HeldError:
            held = True
            raise
        finally:
            self._planned_bytes = 0
            if not held:
                self.look_anew()

    def received(self, count_bytes: int) -> None:
        """Bytes came, and more may.

        Raises:
            HeldError: No more may: a limit was reached, or the next chunk would go over it.
        """
        self._meter.received(count_bytes)
        self._planned_bytes = max(0, self._planned_bytes - count_bytes)
        self._check()

    def affords(self, needed_bytes: int) -> bool:
        """Whether the month's budget leaves so many bytes."""
        left_bytes = self._allowance().left_bytes
        return left_bytes is None or needed_bytes <= left_bytes

    def refuse(self, needed_bytes: int) -> HeldError:
        """What to raise where it does not; blobs are held back until the budget leaves so many bytes."""
        self._least_bytes, self._fallback = needed_bytes, True
        hold = self._allowance().hold
        if hold is None:
            raise ValueError("refused, although the budget leaves it")
        return HeldError(hold)

    def look_anew(self) -> None:
        """Whatever was held back for want of more bytes than one, something else may be wanted now."""
        self._least_bytes, self._fallback = 1, False

    async def settle(self) -> None:
        """The month's count is exact, and on disk if the disk takes it."""
        await self._meter.settle()

    async def watch(self) -> None:
        """Follow the clock and the link until cancelled."""
        while True:
            await asyncio.sleep(_WATCH_SECONDS)
            await self._meter.look()
            self._look()

    def _look(self) -> None:
        metered, told = self.metered, self._told
        self.metered = self._link.look()
        if metered != self.metered:
            _log.info("The link is %s", "metered" if self.metered else "not metered")
        self._told = self._allowance()
        if (_ends(self._told), self.metered) != (_ends(told), metered):
            self._on_change()

    def _allowance(self) -> Allowance:
        now = Circumstances(
            self._clock.unix_ms(), self._meter.bytes(), self.metered, self._least_bytes, self._fallback
        )
        return allowance(self.limits, now)

    def _check(self) -> None:
        """Stop before a chunk as large as the largest so far would go over the month's budget."""
        if not self._planned_bytes:
            return
        if not self._fallback:
            self._least_bytes = min(self._meter.chunk_bytes, self._planned_bytes)
        allowed = self._allowance()
        hold = allowed.hold or (allowed.shard_hold if self._with_shards else None)
        if hold is not None:
            raise HeldError(hold)


def _ends(allowed: Allowance) -> list[tuple[Limit, int] | None]:
    """What is held back and until when, without the figures of the moment."""
    holds = (allowed.hold, allowed.shard_hold)
    return [(hold.limit, hold.until_unix_ms) if hold else None for hold in holds]
