"""Blocks that are coded again with a higher base keep to the budget, whatever they come to weigh."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import safetensors.torch
import torch

from common.manifest import TensorPart
from server.quantize.calibration import Calibrated
from server.quantize.coding import Coding, Entry, bases_bytes
from server.quantize.format import Format
from server.quantize.level_source import LevelSource
from server.quantize.plan import BlockPlan
from server.quantize.rounding import rounding
from server.quantize.spool import open_spool
from server.quantize.weights import WeightsFile

LEVELS = (4, 6, 8)
SHAPE = (16, 64)


@dataclass
class Coded:
    """A few blocks of one tensor each; the last two are of equal content."""

    coding: Coding
    entries: list[Entry]
    steps: list[tuple[str, int, int]]


@pytest.fixture
def coded(tmp_path: Path) -> Iterator[Coded]:
    torch.manual_seed(0)
    names = ("a", "b", "c")
    tensors = {name: torch.randn(SHAPE) for name in names}
    path = tmp_path / "weights.safetensors"
    safetensors.torch.save_file(tensors | {"flat": torch.rand(5)}, path)
    steps: list[tuple[str, int, int]] = []
    form = Format(LEVELS, rounding("floor"))
    plans = [BlockPlan((TensorPart(name, SHAPE, 0, 16),), (), (1, 1, 1), form=form) for name in names]
    plans += [BlockPlan((), ("flat",), (1, 0, 0))] * 2
    with open_spool(tmp_path) as spool:
        coding = Coding(
            WeightsFile(path), Calibrated(), LEVELS, spool, None, lambda *step: steps.append(step)
        )
        yield Coded(coding, list(coding.code(plans)), steps)


def test_blocks_come_in_order_with_their_blobs_in_the_spool(coded: Coded) -> None:
    assert [entry.plan.floats for entry in coded.entries] == [(), (), (), ("flat",), ("flat",)]
    for entry in coded.entries:
        assert [len(coded.coding.spool.read(ref.digest)) for ref in entry.block.blobs] == [
            ref.size_bytes for ref in entry.block.blobs
        ]
    assert coded.steps == [("quantize", done, 5) for done in range(6)]


def test_a_base_that_two_blocks_share_counts_once(coded: Coded) -> None:
    sizes = [entry.block.blobs[0].size_bytes for entry in coded.entries]
    assert bases_bytes(coded.entries) == sum(sizes[:4])


def test_lifted_blocks_have_a_higher_base_and_the_same_codes_above_it(coded: Coded) -> None:
    lifted = coded.coding.lifted(coded.entries, {0: 6, 2: 8}, 1 << 20)
    assert [entry.block.levels(LEVELS) for entry in lifted[:3]] == [(6, 8), (4, 6, 8), (8,)]
    assert lifted[1] is coded.entries[1]
    read = coded.coding.spool.read
    for entry, before in zip(lifted[:3], coded.entries, strict=False):
        for level in (6, 8):
            one, other = (
                LevelSource([item.block], LEVELS, level, read).tensor(item.block.tensors[0].name)
                for item in (entry, before)
            )
            at_own = level in entry.block.levels(LEVELS)
            assert torch.equal(one, other) == at_own


def test_nothing_is_coded_again_where_nothing_is_lifted(coded: Coded) -> None:
    before = list(coded.steps)
    assert coded.coding.lifted(coded.entries, {}, 0) == coded.entries
    assert coded.steps == before


def test_the_last_lifts_are_taken_back_where_bases_weigh_more_than_was_thought(coded: Coded) -> None:
    first = coded.coding.lifted(coded.entries, {2: 8}, 1 << 20)
    budget_bytes = bases_bytes(first)
    kept = coded.coding.lifted(coded.entries, {2: 8, 0: 6, 1: 8}, budget_bytes)
    assert [len(entry.block.blobs) for entry in kept[:3]] == [3, 3, 1]
    assert bases_bytes(kept) == budget_bytes
    none = coded.coding.lifted(coded.entries, {2: 8}, budget_bytes - 1)
    assert none == coded.entries


def test_a_lift_of_one_of_two_equal_blocks_is_no_lift_of_the_other(coded: Coded) -> None:
    twin = replace(coded.entries[0])
    entries = [coded.entries[0], twin]
    base_bytes, *shards = (ref.size_bytes for ref in twin.block.blobs)
    # What the shards add to a base is not all that it takes: the other's base is no longer shared.
    budget_bytes = base_bytes + sum(shards)
    kept = coded.coding.lifted(entries, {0: 8}, budget_bytes)
    assert bases_bytes(kept) <= budget_bytes
    assert kept == entries
