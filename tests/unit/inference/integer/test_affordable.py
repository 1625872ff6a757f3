from __future__ import annotations

import pytest
import torch
from torch import nn

from device_agent.inference.integer.affordable import affordable
from tests.support.versions import Version, make_version


@pytest.fixture(scope="module")
def version() -> Version:
    torch.manual_seed(3)
    model = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 8))
    return make_version(model.eval(), (torch.randn(4, 64),))


NAMES = ("0.weight", "2.weight", "4.weight")


def taken(version: Version, spare_bytes: int, *, level: int = 4, bytes_per_weight: int = 1) -> set[str]:
    levels = [level] * len(version.manifest.blocks)
    wanted = [(name, bytes_per_weight) for name in NAMES]
    return set(affordable(version.manifest, levels, wanted, spare_bytes))


def test_without_room_nothing_is_held_as_bytes(version: Version) -> None:
    assert taken(version, 0) == taken(version, -5) == set()


def test_with_room_all_are(version: Version) -> None:
    assert taken(version, 1 << 30) == set(NAMES)


def test_the_first_that_fit_are_taken(version: Version) -> None:
    assert taken(version, 64 * 34) == {"2.weight", "4.weight"}


def test_more_room_never_takes_less(version: Version) -> None:
    sizes = [len(taken(version, spare_bytes)) for spare_bytes in (0, 300, 3000, 1 << 20)]
    assert sizes == sorted(sizes)


def test_what_is_packed_at_a_higher_level_needs_less_beside_it(version: Version) -> None:
    assert taken(version, 64 * 40, level=8) > taken(version, 64 * 40, level=4)


def test_an_engine_that_keeps_two_copies_needs_room_for_both(version: Version) -> None:
    assert "0.weight" in taken(version, 64 * 64)
    assert "0.weight" not in taken(version, 64 * 64, bytes_per_weight=2)


def test_names_that_the_version_does_not_have_are_none(version: Version) -> None:
    levels = [4] * len(version.manifest.blocks)
    assert affordable(version.manifest, levels, [("nobody", 1)], 1 << 30) == frozenset()
