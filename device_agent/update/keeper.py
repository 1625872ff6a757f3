"""The versions that answer: candidates are loaded beside them, a switch is one assignment."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from common.errors import CapacityError, Error
from common.manifest import Manifest
from device_agent.blocking import run_blocking
from device_agent.inference.answering import AnsweringModel
from device_agent.residency.block_loader import ReadBlob
from device_agent.residency.pager import PageReport
from device_agent.store.records import Installed
from device_agent.update.served import Load, Served
from device_agent.update.situation import Running

_log = logging.getLogger(__name__)
_Result = TypeVar("_Result")


@dataclass(slots=True)
class _Kept:
    """A version in memory.

    Attributes:
        tested: Levels at which it was tested.
        highest_level: No higher than this, since a level above failed; 0 for no limit.
        memory_bytes: Its share of the budget, as it was told last; 0 before.
    """

    installed: Installed
    served: Served
    tested: set[int]
    highest_level: int = 0
    memory_bytes: int = 0


class Keeper:
    """What is in memory: of each model the version that answers.

    Args:
        load: Brings a version into memory.
        read: Digest to a blob's bytes on disk.
        on_switch: Called when another version answers, or one no longer does.
    """

    def __init__(self, load: Load, read: ReadBlob, on_switch: Callable[[], None]) -> None:
        self._load = load
        self._read = read
        self._on_switch = on_switch
        # Never changed but replaced: others look from other threads.
        self._kept: Mapping[str, _Kept] = {}

    @property
    def running(self) -> dict[str, Running]:
        """Model to what answers, as the state machine sees it."""
        return {model: running for model, (running, _) in self.answering.items()}

    @property
    def served(self) -> dict[str, Served]:
        """Model to what answers."""
        return {model: kept.served for model, kept in self._kept.items()}

    @property
    def answering(self) -> dict[str, tuple[Running, Served]]:
        """Model to both of these: one cannot be of another version than the other."""
        return {
            model: (
                Running(
                    kept.installed,
                    kept.served.manifest,
                    tuple(kept.served.levels),
                    kept.highest_level,
                    kept.memory_bytes,
                ),
                kept.served,
            )
            for model, kept in self._kept.items()
        }

    def models(self) -> Mapping[str, AnsweringModel]:
        """Name to the model that answers."""
        return self.served

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
        kept = _Kept(installed, served, {served.level}, highest_level)
        self._kept = {**self._kept, installed.release.model: kept}
        self._on_switch()

    def drop(self, model: str) -> None:
        """The model answers no longer; requests under way come to their end."""
        self._kept = {name: kept for name, kept in self._kept.items() if name != model}
        self._on_switch()

    def relabel(self, installed: Installed) -> None:
        """The same version runs under another assignment."""
        self._kept[installed.release.model].installed = installed

    async def page(self, model: str, levels: Sequence[int]) -> PageReport:
        """Bring what answers to other levels, block by block.

        Raises:
            IntegrityError: A shard on disk is not what the manifest says; every block is whole all the same.
            CapacityError: The memory does not suffice.
        """
        served = self._kept[model].served
        return await run_blocking(lambda: _contained(lambda: served.set_levels(levels)))

    async def share(self, model: str, memory_bytes: int) -> None:
        """Memory that the weights of what answers may take; it is told once, whatever comes of it.

        It answers with less or more of it too, so what goes wrong there keeps nothing else from going on.
        """
        kept = self._kept[model]
        if kept.memory_bytes == memory_bytes:
            return
        kept.memory_bytes = memory_bytes
        try:
            await run_blocking(lambda: _contained(lambda: kept.served.set_memory(memory_bytes)))
        except Error as error:
            _log.warning("%s cannot make use of its memory: %s", kept.installed.release, error)

    async def prove(self, model: str) -> None:
        """What answers has been tested at its present level, now or before.

        Raises:
            SelfTestError: It fails there; that level is not tested again.
        """
        kept = self._kept[model]
        if kept.served.level in kept.tested:
            return
        kept.tested.add(kept.served.level)
        await run_blocking(lambda: _contained(kept.served.prove))

    def stay_below(self, model: str, level: int) -> None:
        """What answers goes no higher than this level."""
        self._kept[model].highest_level = level

    def forgive(self) -> None:
        """Levels that failed are worth another try, and are tested again before they count."""
        for kept in self._kept.values():
            kept.highest_level = 0
            lowest = min(kept.served.levels, default=0)
            kept.tested = {tested for tested in kept.tested if tested <= lowest}


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
