from __future__ import annotations

from collections.abc import Callable

from device_agent.residency.pager import Pager
from device_agent.store.records import AgentRecord, Installed, Slot
from device_agent.update.keeper import Keeper
from device_agent.update.model_status import ModelStatus, model_statuses
from device_agent.update.progress import Progress
from tests.support.fleet import MemoryRuntime, MemoryServed, make_version

ONE = make_version(1)


class Watched(MemoryServed):
    """Something happens right after its levels are read, as if in another thread."""

    def __init__(self, level: int, happens: list[Callable[[], object]]) -> None:
        levels = ONE.manifest.nearest(level)
        super().__init__(MemoryRuntime(), ONE.manifest, Pager(ONE.manifest, ONE.blobs.__getitem__, levels))
        self.happens = happens

    @property
    def levels(self) -> tuple[int, ...]:
        found = super().levels
        if self.happens:
            self.happens.pop(0)()
        return found


def keep(served: MemoryServed) -> Keeper:
    keeper = Keeper(MemoryRuntime().load, ONE.blobs.__getitem__, lambda: None)
    keeper.switch(Installed(ONE.release), served)
    return keeper


def look(keeper: Keeper) -> ModelStatus:
    record = AgentRecord("board", "", slots=(Slot("net", active=Installed(ONE.release)),))
    (status,) = model_statuses(record, keeper, Progress(lambda: None))
    return status


def test_levels_memory_and_digest_are_of_one_moment_while_blocks_change() -> None:
    served = Watched(8, [])
    keeper = keep(served)
    down = [(4, 8, 8, 4), (4, 4, 8, 4), (4, 4, 4, 4)]
    served.happens = [lambda levels=levels: served.set_levels(levels) for levels in down]  # type: ignore[misc]
    status = look(keeper)
    assert status.blocks == ((4, 3),)
    assert (status.level, status.resident_bytes) == (4, served.resident_bytes)
    assert status.loaded_digest == served.loaded_digest
