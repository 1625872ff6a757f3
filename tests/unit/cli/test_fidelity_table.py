from __future__ import annotations

import json
from dataclasses import replace

import pytest

from common.fidelity import FidelityReport
from server.cli.fidelity_table import fidelity_json, print_fidelity
from tests.support.fidelity import block_gains, some_report


def shown(
    capsys: pytest.CaptureFixture[str], report: FidelityReport | None, *, every: bool = False
) -> list[str]:
    print_fidelity(report, every=every)
    return capsys.readouterr().out.splitlines()


def row(lines: list[str], *cells: str) -> bool:
    """Whether one line begins with these cells."""
    return any(line.split()[: len(" ".join(cells).split())] == " ".join(cells).split() for line in lines)


def test_each_level_has_its_row_and_the_verdict_follows(capsys: pytest.CaptureFixture[str]) -> None:
    lines = shown(capsys, some_report())
    assert "fidelity to the model as pushed, on 64 evaluation samples" in lines
    assert row(lines, "4 bits", "3.00 MiB", "0.9200", "10.0 dB", "50.0%", "-", "20.0 dB")
    assert row(lines, "8 bits", "7.00 MiB", "0.9999")
    assert not row(lines, "floats")
    assert "worth serving from 4 bits, by a cosine of at least 0.9 there and above" in lines


def test_labels_decide_where_there_are_any(capsys: pytest.CaptureFixture[str]) -> None:
    lines = shown(capsys, some_report(top1=(0.9, 0.955, 0.97), fp32_top1=0.972))
    assert row(lines, "6 bits", "5.00 MiB", "0.9950", "10.0 dB", "50.0%", "95.5%")
    assert row(lines, "floats", "-", "-", "-", "-", "97.2%", "-")
    assert "worth serving from 6 bits, by a top-1 within 2 points of the floats' there and above" in lines


def test_a_version_that_is_worth_serving_at_no_level_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    lines = shown(capsys, some_report(top1=(0.1, 0.1, 0.1), fp32_top1=0.97))
    assert any(line.startswith("worth serving at no level: ") for line in lines)


def test_blocks_stand_by_what_a_byte_gains(capsys: pytest.CaptureFixture[str]) -> None:
    lines = shown(capsys, some_report())
    assert any("on 32 samples; most per byte first" in line for line in lines)
    first = next(index for index, line in enumerate(lines) if line.split()[:2] == ["1", "1%"])
    assert lines[first].split() == ["1", "1%", "1024%", "0.05%", "51%", "norm.weight"]
    assert lines[first + 1].split() == ["0", "2%", "2%", "0.1%", "0.1%", "first.weight"]
    assert lines[-1] == "2 of 3 blocks; all with --blocks"


def test_eight_blocks_are_shown_and_all_where_asked_for(capsys: pytest.CaptureFixture[str]) -> None:
    blocks = tuple(block_gains(index, f"layer{index}", 0.1 / (index + 1), 0.0) for index in range(20))
    report = replace(some_report(), blocks=blocks)
    few = shown(capsys, report)
    assert sum("layer" in line for line in few) == 8
    assert few[-1] == "8 of 20 blocks; all with --blocks"
    every = shown(capsys, report, every=True)
    assert sum("layer" in line for line in every) == 20
    assert "all with --blocks" not in "\n".join(every)


def test_with_all_blocks_pinned_ones_have_dashes_and_tensors_tell_their_bits(
    capsys: pytest.CaptureFixture[str],
) -> None:
    lines = shown(capsys, some_report(), every=True)
    assert row(lines, "3", "-", "-", "-", "-", "last.weight")
    assert row(lines, "first.weight", "floor", "4,6,8", "2,2", "18.5 dB, 30.2 dB, 42.0 dB")
    assert row(lines, "norm.weight", "adaptive", "4,6,8", "3,3", "18.0 dB, 30.0 dB, exact")
    assert row(lines, "last.weight", "floor", "8", "-", "42.0 dB")


def test_gains_that_were_measured_in_weights_are_not_called_outputs(
    capsys: pytest.CaptureFixture[str],
) -> None:
    report = replace(some_report(), sensitivity="weights", sensitivity_samples=0)
    lines = shown(capsys, report)
    assert any(line.startswith("error in a block's weights") for line in lines)
    assert not any("outputs" in line for line in lines)


def test_tiny_and_absent_gains_can_be_told_apart(capsys: pytest.CaptureFixture[str]) -> None:
    report = replace(some_report(), blocks=(block_gains(0, "w", 1e-9, 0.0),))
    assert row(shown(capsys, report), "0", "<0.0001%", "<0.0001%", "0%", "0%", "w")


def test_a_version_without_a_report_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    assert shown(capsys, None) == ["", "no fidelity report"]
    assert fidelity_json(None) is None


def test_json_has_all_of_the_report_and_what_follows_from_it() -> None:
    tree = json.loads(json.dumps(fidelity_json(some_report())))
    assert tree["serving_level"] == 4
    assert tree["levels"][0]["output_cosine"] == 0.92
    assert tree["blocks"][1]["shards"][0] == {"gain": 0.01, "level": 6, "size_bytes": 1024}
    assert tree["tensors"][1]["weight_sqnr_db"] == [18.0, 30.0, None]


def test_names_cannot_steer_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    report = replace(some_report(), blocks=(block_gains(0, "\x1b[2Jw[red]", 0.1, 0.1),))
    text = "\n".join(shown(capsys, report))
    assert "\x1b" not in text
    assert "[red]" in text
