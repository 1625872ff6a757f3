"""Where room on the disk is short: who gives something up, in which order."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import cast

import pytest

from common.errors import CapacityError
from device_agent.store.records import Installed
from device_agent.store.store import Store
from device_agent.update.activation import Activation
from device_agent.update.faults import Faults
from device_agent.update.keeper import Keeper
from device_agent.update.progress import Progress
from device_agent.update.situation import Running
from device_agent.update.steps import FetchBlobs, Page
from tests.support.fleet import make_version

NET, SPEECH = make_version(2), make_version(1, model="speech")
SHORT = CapacityError("The disk is full.", needed_bytes=2, available_bytes=1)


class StubKeeper:
    """``Keeper`` with two models that run."""

    def __init__(self) -> None:
        self.running = {
            version.release.model: Running(
                Installed(version.release), version.manifest, version.manifest.base_levels()
            )
            for version in (NET, SPEECH)
        }


class StubActivation:
    """``Activation`` whose tidying up frees something once enough is given up."""

    def __init__(self, enough: Collection[str]) -> None:
        self.enough = set(enough)
        self.asked: list[set[str]] = []

    async def tidy(self, *, given_up: Collection[str] = ()) -> int:
        self.asked.append(set(given_up))
        return 100 if self.enough <= set(given_up) else 0


def faults(folder: Path, activation: StubActivation) -> Faults:
    store = Store.open(folder, "board")
    store.close()
    keeper = cast("Keeper", StubKeeper())
    return Faults(store, keeper, cast("Activation", activation), Progress(lambda: None))


def fetch(*, update: bool) -> FetchBlobs:
    base = NET.manifest.base_levels()
    return FetchBlobs(NET.release, NET.manifest, base, base, update)


@pytest.mark.parametrize(
    ("enough", "asked"),
    [
        (set[str](), [set[str]()]),
        ({"net"}, [set[str](), {"net"}]),
        ({"net", "speech"}, [set[str](), {"net"}, {"net", "speech"}]),
    ],
)
async def test_what_nobody_wants_goes_first_then_ones_own_way_back_then_the_others(
    tmp_path: Path, enough: set[str], asked: list[set[str]]
) -> None:
    activation = StubActivation(enough)
    judge = faults(tmp_path / "store", activation)
    assert await judge.short_of_room(fetch(update=True), SHORT) == 0
    assert activation.asked == asked
    assert judge.short == frozenset(), "it is tried again at once"


async def test_no_way_back_goes_for_the_shards_of_what_runs(tmp_path: Path) -> None:
    activation = StubActivation({"net"})
    judge = faults(tmp_path / "store", activation)
    assert await judge.short_of_room(fetch(update=False), SHORT) == 0
    assert activation.asked == [set()]
    assert judge.short == {"net"}, "the others go on meanwhile"


async def test_a_model_that_still_finds_no_room_waits(tmp_path: Path) -> None:
    judge = faults(tmp_path / "store", StubActivation({"nothing"}))
    page = Page("speech", SPEECH.manifest.base_levels())
    assert await judge.short_of_room(page, SHORT) == 0
    assert judge.short == {"speech"}
    assert await judge.short_of_room(page, SHORT) > 0
    assert judge.short == frozenset()
