"""The version that answers: candidates are loaded beside it, a switch is one assignment."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

from common.errors import CapacityError, Error
from common.manifest import Manifest
from device_agent.blocking import run_blocking
from device_agent.inference.answering import AnsweringModel
from device_agent.residency.block_loader import ReadBlob
from device_agent.residency.pager import PageReport
from device_agent.store.records import Installed
from device_agent.update.machine import Running
from device_agent.update.served import Load, Served

_log = logging.getLogger(__name__)
_Result = TypeVar("_Result")


class Keeper:
    """What is in memory.

    Args:
        load: Brings a version into memory.
        read: Digest to a blob's bytes on disk.
        on_switch: Called when another version answers.

    Attributes:
        served: What answers; None when nothing does.
        highest_level: No higher than this, since a level above failed; 0 for no limit.
    """

    def __init__(self, load: Load, read: ReadBlob, on_switch: Callable[[], None]) -> None:
        self._load = load
        self._read = read
        self._on_switch = on_switch
        self._installed: Installed | None = None
        self._tested: set[int] = set()
        self.served: Served | None = None
        self.highest_level = 0

    @property
    def running(self) -> Running | None:
        """What answers, as the state machine sees it."""
        if self.served is None or self._installed is None:
            return None
        return Running(self._installed, self.served.manifest, tuple(self.served.levels), self.highest_level)

    def models(self) -> Mapping[str, AnsweringModel]:
        """Name to the model that answers."""
        return {self.served.name: self.served} if self.served is not None else {}

    async def prepare(self, manifest: Manifest, levels: Sequence[int]) -> Served:
        """A version in memory that passed its self-test; what answers stays as it is.

        Raises:
            IntegrityError: A blob on disk is not what the manifest says.
            SelfTestError: It does not answer as it should.
            UnsupportedModelError: The graph needs what this agent does not have.
            CapacityError: The memory does not suffice.
            Error: Anything else; the log says more.
        """

        def load() -> Served:
            served = self._load(manifest, self._read, levels)
            served.prove()
            return served

        return await run_blocking(lambda: _contained(load))

    def switch(self, installed: Installed, served: Served, *, highest_level: int = 0) -> None:
        """From now on this version answers; requests under way end with the one that they began with."""
        self.served, self._installed = served, installed
        self._tested = {served.level}
        self.highest_level = highest_level
        self._on_switch()

    def relabel(self, installed: Installed) -> None:
        """The same version runs under another assignment."""
        self._installed = installed

    async def page(self, levels: Sequence[int]) -> PageReport:
        """Bring what answers to other levels, block by block.

        Raises:
            IntegrityError: A shard on disk is not what the manifest says; every block is whole all the same.
            CapacityError: The memory does not suffice.
        """
        served = self.served
        if served is None:
            raise ValueError("nothing runs that could be paged")
        return await run_blocking(lambda: _contained(lambda: served.set_levels(levels)))

    async def prove(self) -> None:
        """What answers has been tested at its present level, now or before.

        Raises:
            SelfTestError: It fails there; that level is not tested again.
        """
        served = self.served
        if served is None or served.level in self._tested:
            return
        self._tested.add(served.level)
        await run_blocking(lambda: _contained(served.prove))

    def forget_tests_above(self, level: int) -> None:
        """Levels above are tested again before they count."""
        self._tested = {tested for tested in self._tested if tested <= level}


def _contained(call: Callable[[], _Result]) -> _Result:
    """The call's result; a version must not take the agent down, whatever it does."""
    try:
        return call()
    except Error:
        raise
    except MemoryError as error:
        raise CapacityError("The memory does not suffice to load the version.") from error
    except Exception as error:
        _log.exception("A version failed in an unforeseen way")
        raise Error(f"The version failed in an unforeseen way: {error!r:.200}.") from error
