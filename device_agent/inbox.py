"""What arrives from the control plane, handed to whom it concerns; runs on the event loop."""

from __future__ import annotations

import logging
from collections.abc import Callable

from common.errors import InvalidInputError
from common.topics import Topic
from common.transfer_limits import TransferLimits
from device_agent.link.messages import read_goals, read_limits
from device_agent.store.records import Goal

_log = logging.getLogger(__name__)


class Inbox:
    """Reads messages; one that makes no sense is logged and passed over.

    Args:
        device_id: Of this device.
        on_goals: Takes what is wanted, one goal of each model; empty when nothing is assigned.
        on_limits: Takes the operator's memory budget in bytes, 0 for none, and limits of transfer.
    """

    def __init__(
        self,
        device_id: str,
        *,
        on_goals: Callable[[tuple[Goal, ...]], None],
        on_limits: Callable[[int, TransferLimits], None],
    ) -> None:
        self._device_id = device_id
        self._on_goals = on_goals
        self._on_limits = on_limits
        self._limits_generation = 0

    def take(self, topic: Topic, payload: bytes) -> None:
        """The message has reached whom it concerns."""
        try:
            if topic is Topic.ASSIGNMENT:
                self._on_goals(read_goals(payload, self._device_id))
            elif topic is Topic.LIMITS:
                self._take_limits(payload)
        except InvalidInputError as error:
            _log.warning("Ignored a message on %s: %s", topic.value, error)

    def _take_limits(self, payload: bytes) -> None:
        generation, limit_bytes, transfer_limits = read_limits(payload, self._device_id)
        if payload and generation < self._limits_generation:
            _log.warning("Ignored limits %d, older than %d", generation, self._limits_generation)
            return
        self._limits_generation = generation
        self._on_limits(limit_bytes, transfer_limits)
