"""From a device's report to the fleet's savings, through a real registry; and the picture of it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from nestfleet.v1 import catalog_pb2, control_pb2

from common.errors import ConfigError, NotFoundError
from server.ledger.over_time import course
from server.ledger.picture import draw
from server.ledger.recording import record, savings
from server.ledger.savings import Savings
from server.registry.records import HourRecord
from server.registry.repository import Registry
from tests.support.factories import make_version


@pytest.fixture
def registry(tmp_path: Path) -> Iterator[Registry]:
    opened = Registry.open(f"sqlite:///{tmp_path}/registry.sqlite")
    for model in ("digits", "speech"):
        opened.add_version(model, make_version(model))
    opened.enrol("board-1", "key", "", "", 1)
    yield opened
    opened.close()


def report(model: str, payload_bytes: int, *, device_id: str = "board-1") -> control_pb2.LedgerReport:
    ref = catalog_pb2.VersionRef(model=model, version=1)
    total = control_pb2.TransferTotal(
        ref=ref, kind=control_pb2.TRANSFER_KIND_BASE, level=4, payload_bytes=payload_bytes, blobs=2
    )
    return control_pb2.LedgerReport(
        device_id=device_id,
        ledger_id="l",
        totals=[total],
        reached=[control_pb2.LevelsReached(ref=ref, levels=[4])],
    )


def test_reports_become_savings(registry: Registry) -> None:
    assert record(registry, report("digits", 100), 5)
    assert record(registry, report("speech", 30), 6)
    assert record(registry, report("digits", 100), 7)
    comparison = savings(registry)
    assert (comparison.fleet.moved_bytes, comparison.fleet.fp32_bytes) == (130, 6400)
    assert [row.device_id for row in comparison.devices] == ["board-1"]
    assert savings(registry, "speech").fleet.moved_bytes == 30


def test_a_stranger_is_not_counted(registry: Registry) -> None:
    assert not record(registry, report("digits", 100, device_id="stranger"), 5)
    assert savings(registry).fleet == Savings()


def test_savings_of_a_model_that_never_was_are_not_found(registry: Registry) -> None:
    assert savings(registry, "digits").fleet == Savings()
    with pytest.raises(NotFoundError, match="no model nothing"):
        savings(registry, "nothing")
    registry.delete_version("speech", 1)
    assert savings(registry, "speech").fleet == Savings()


def size_of(path: Path) -> tuple[int, int]:
    data = path.read_bytes()
    assert data.startswith(b"\x89PNG\r\n\x1a\n")
    return int.from_bytes(data[16:20], "big"), int.from_bytes(data[20:24], "big")


MOVED = Savings("", 15 << 20, 12 << 20, 4 << 20, 200, 400, 1 << 28, 62 << 20, 110 << 20, overhead_bytes=999)


@pytest.mark.parametrize("row", [Savings(), MOVED])
def test_the_picture_is_a_png_of_some_size(tmp_path: Path, row: Savings) -> None:
    path = tmp_path / "new" / "savings.png"
    draw(row, path, course(row, [], 5), title="A title")
    assert size_of(path) == (1380, 660)


@pytest.mark.parametrize("hours", [1, 3000])
def test_the_picture_has_a_second_panel_where_times_are_known(tmp_path: Path, hours: int) -> None:
    path = tmp_path / "savings.png"
    records = [HourRecord(number * 3_600_000, "base", 5000) for number in range(hours)]
    draw(MOVED, path, course(MOVED, records, hours * 3_600_000))
    assert size_of(path) == (1380, 1230)


def test_hours_of_what_was_never_reported_are_none_and_of_reports_some(registry: Registry) -> None:
    assert registry.moved_hours() == []
    record(registry, report("digits", 100), 5)
    assert registry.moved_hours() == [HourRecord(0, "base", 100)]


@pytest.mark.parametrize("name", ["savings.docx", "file/savings.png", "folder.png"])
def test_a_picture_that_cannot_be_written_is_a_wrong_setting(tmp_path: Path, name: str) -> None:
    (tmp_path / "file").write_text("in the way")
    (tmp_path / "folder.png").mkdir()
    with pytest.raises(ConfigError, match="cannot be written"):
        draw(Savings(), tmp_path / name)
