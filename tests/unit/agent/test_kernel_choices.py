from __future__ import annotations

import json
import logging
from pathlib import Path

import pytest

from device_agent.inference.integer.rules import Choices
from device_agent.store.kernel_choices import FILE_NAME, MOST_ENTRIES, KernelChoices

FASTER = {"conv1.weight": True, "fc.weight": False}


def key(number: int) -> str:
    return f"{number:064x}"


def test_what_was_found_is_known_after_a_restart(tmp_path: Path) -> None:
    choices: Choices = KernelChoices(tmp_path)
    assert choices.get(key(1)) is None
    choices.put(key(1), FASTER)
    assert choices.get(key(1)) == FASTER
    assert KernelChoices(tmp_path).get(key(1)) == FASTER
    assert KernelChoices(tmp_path).get(key(2)) is None
    assert [file.name for file in tmp_path.iterdir()] == [FILE_NAME]


def test_of_many_the_oldest_go(tmp_path: Path) -> None:
    choices = KernelChoices(tmp_path)
    for number in range(MOST_ENTRIES):
        choices.put(key(number), FASTER)
    choices.put(key(0), {})
    choices.put(key(MOST_ENTRIES), FASTER)
    after = KernelChoices(tmp_path)
    assert after.get(key(0)) == {}, "it was put again"
    assert after.get(key(1)) is None
    assert all(after.get(key(number)) == FASTER for number in range(2, MOST_ENTRIES + 1))


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\xff\xfe",
        b"{",
        b"[" * 100_000,
        b"[]",
        json.dumps({"short": FASTER}).encode(),
        json.dumps({key(1): ["conv1.weight"]}).encode(),
        json.dumps({key(1): {"conv1.weight": 1}}).encode(),
        json.dumps({key(number): FASTER for number in range(MOST_ENTRIES + 1)}).encode(),
        json.dumps({key(1): {"x" * 5_000_000: True}}).encode(),
    ],
)
def test_a_file_that_makes_no_sense_counts_as_empty_and_is_replaced(
    tmp_path: Path, content: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / FILE_NAME).write_bytes(content)
    choices = KernelChoices(tmp_path)
    with caplog.at_level(logging.WARNING):
        assert choices.get(key(1)) is None
        assert choices.get(key(1)) is None
    assert len(caplog.records) == 1
    choices.put(key(1), FASTER)
    assert KernelChoices(tmp_path).get(key(1)) == FASTER


def test_a_disk_that_refuses_is_no_failure(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    choices = KernelChoices(tmp_path / "gone")
    choices.put(key(1), FASTER)
    assert choices.get(key(1)) == FASTER
    assert len(caplog.records) == 1
    (tmp_path / FILE_NAME).mkdir()
    assert KernelChoices(tmp_path).get(key(1)) is None
