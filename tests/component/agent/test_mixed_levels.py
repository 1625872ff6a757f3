"""The agent with versions whose blocks begin at different levels and carry floats of each level."""

from __future__ import annotations

import functools
from pathlib import Path

import numpy as np
import pytest

from device_agent.inference.integer.rules import KernelRules
from device_agent.inference.served import ServedModel
from tests.support.fleet import Board, MemoryServer, RunningAgent, TestVersion, make_version
from tests.support.mixed_versions import answers, mixed_version
from tests.support.models import tiny_net
from tests.support.versions import Version
from tests.support.versions import make_version as make_real_version
from tests.support.waiting import until

MIXED = make_version(2, mixed=True)
# Which layers are faster on kernels is a matter of the moment; answers are held to the bit here.
IN_FLOATS = functools.partial(ServedModel.load, rules=KernelRules(mode="float"))


@pytest.fixture
def real() -> Version:
    """A network with the base of its first block at 6 bits and of its last at 8; biases follow the levels."""
    plain = make_real_version(*tiny_net(width=16))
    quantized = [index for index, block in enumerate(plain.manifest.blocks) if block.tensors]
    return mixed_version(plain, {quantized[0]: 6, quantized[-1]: 8})


def assert_answers(running: RunningAgent, version: Version, level: int) -> None:
    model = running.agent.keeper.models()[version.manifest.model]
    answer = model.infer(version.inputs())
    assert answer.level == level
    np.testing.assert_array_equal(answer.outputs["output_0"], answers(version, level)[0])


async def test_a_mixed_version_is_fetched_served_at_its_base_lifted_and_evicted(
    real: Version, tmp_path: Path
) -> None:
    version = TestVersion(real.manifest, real.blobs)
    board = Board(tmp_path / "store", MemoryServer([version]), load=IN_FLOATS)
    board.limit(version.bytes_at(4), 1)
    board.assign(version)
    async with board.agent() as running:
        await until(lambda: running.runs(1, 4))
        assert_answers(running, real, 4)
        assert board.server.sent.total() == version.wire(4) + version.metadata
        assert running.agent.status().resident_bytes <= version.bytes_at(4)
        assert {level for level, _ in running.agent.status().blocks} == {4, 6, 8}

        for generation, level in enumerate((6, 8), start=2):
            board.limit(version.bytes_at(level), generation)
            await until(lambda level=level: running.runs(1, level))  # type: ignore[misc]
            assert_answers(running, real, level)
            assert board.server.sent.total() == version.wire(level) + version.metadata
        assert running.ledger()["base"] == version.wire(4)
        assert running.ledger()["shard"] == version.wire(8) - version.wire(4)

        for generation, level in enumerate((6, 4, 8), start=4):
            board.limit(version.bytes_at(level), generation)
            await until(lambda level=level: running.runs(1, level))  # type: ignore[misc]
            assert_answers(running, real, level)
            assert running.agent.status().resident_bytes <= version.bytes_at(level)
        assert running.fault() == ""
        assert running.store.ledger.reached() == {("tiny", 1): (4, 6, 8)}
        assert board.server.sent.total() == version.wire(8) + version.metadata


async def test_a_restart_has_a_mixed_version_again_without_any_network(real: Version, tmp_path: Path) -> None:
    version = TestVersion(real.manifest, real.blobs)
    board = Board(tmp_path / "store", MemoryServer([version]), load=IN_FLOATS)
    board.assign(version, max_level=6)
    async with board.agent() as running:
        await until(lambda: running.runs(1, 6))
    board.server.away = True
    async with board.agent() as running:
        await until(lambda: running.runs(1, 6))
        assert_answers(running, real, 6)


async def test_a_report_is_neither_fetched_nor_waited_for_nor_kept(tmp_path: Path) -> None:
    board = Board(tmp_path / "store", MemoryServer([make_version(1), MIXED]))
    assert MIXED.manifest.fidelity is not None
    report = MIXED.manifest.fidelity.digest
    assert report in MIXED.blobs
    board.assign(make_version(1))
    async with board.agent() as running:
        await until(lambda: running.runs(1, 8))
        board.assign(MIXED)
        await until(lambda: running.runs(2, 8))
        assert report not in board.server.sent
        assert running.store.blobs.present == make_version(1).device_blobs | MIXED.device_blobs
        # One that got there by other ways is surplus.
        (board.folder / "blobs" / report).write_bytes(MIXED.blobs[report])
    async with board.agent() as running:
        three = make_version(3)
        board.server.versions.append(three)
        board.assign(three)
        await until(lambda: running.runs(3, 8))
        await until(lambda: running.store.blobs.present == MIXED.device_blobs | three.device_blobs)


async def test_a_level_that_fails_leaves_the_higher_bases_as_they_are(tmp_path: Path) -> None:
    board = Board(tmp_path / "store", MemoryServer([MIXED]))
    board.runtime.failing = {(2, 6)}
    board.assign(MIXED)
    async with board.agent() as running:
        await until(lambda: running.fault() == "self_test_failed")
        await until(lambda: running.runs(2, 4))
        assert running.agent.status().blocks == ((4, 1), (6, 1), (8, 1))


async def test_a_damaged_shard_of_a_mixed_version_is_fetched_again(tmp_path: Path) -> None:
    board = Board(tmp_path / "store", MemoryServer([MIXED]))
    shard = MIXED.manifest.blocks[0].blobs[1].digest
    board.server.flips[shard] = 1
    board.assign(MIXED)
    async with board.agent() as running:
        await until(lambda: running.runs(2, 8))
        assert board.server.sent[shard] == 2 * len(MIXED.blobs[shard])
