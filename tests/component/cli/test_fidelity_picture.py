"""The picture of a fidelity report: few blocks and many, and reports with little in them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from common.errors import ConfigError, NotFoundError
from common.fidelity import FidelityReport
from server.cli.fidelity import draw_fidelity
from tests.support.fidelity import block_gains, some_report

REPORT = some_report()
MANY = tuple(block_gains(index, f"layers.{index}.weight", 0.1 / (index + 1), 0.01) for index in range(90))
LABELLED = some_report(top1=(0.9, 0.95, 0.97), fp32_top1=0.97)


@pytest.mark.parametrize(
    "report",
    [
        pytest.param(REPORT, id="few blocks"),
        pytest.param(replace(REPORT, blocks=MANY), id="many blocks"),
        pytest.param(LABELLED, id="labels"),
        pytest.param(some_report(top1=(0.1, 0.1, 0.1), fp32_top1=0.97), id="worth nothing"),
        pytest.param(replace(REPORT, sensitivity="weights", sensitivity_samples=0), id="weights"),
        pytest.param(replace(REPORT, levels=REPORT.levels[-1:], blocks=REPORT.blocks[-1:]), id="one level"),
        pytest.param(replace(REPORT, blocks=()), id="no blocks"),
        pytest.param(replace(REPORT, blocks=(block_gains(0, "w", 0.0, 0.0),)), id="no gain"),
        pytest.param(replace(REPORT, blocks=(block_gains(0, "_$x$ {" * 30, 0.1, 0.1),)), id="odd name"),
    ],
)
def test_the_picture_is_a_png_of_some_size(tmp_path: Path, report: FidelityReport) -> None:
    path = tmp_path / "new" / "fidelity.png"
    draw_fidelity(report, path, title="digits:1")
    data = path.read_bytes()
    assert data.startswith(b"\x89PNG\r\n\x1a\n")
    width, height = int.from_bytes(data[16:20], "big"), int.from_bytes(data[20:24], "big")
    assert (width, height) == (1980, 900)


def test_without_a_report_there_is_nothing_to_draw(tmp_path: Path) -> None:
    path = tmp_path / "fidelity.png"
    with pytest.raises(NotFoundError, match="digits:1 has no fidelity report"):
        draw_fidelity(None, path, title="digits:1")
    assert not path.exists()


def test_a_file_that_is_no_picture_is_a_wrong_setting(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be written"):
        draw_fidelity(REPORT, tmp_path / "fidelity.docx", title="digits:1")
