from __future__ import annotations

import pytest

from server.cli.push_progress import PushProgress


def test_each_step_of_a_push_has_a_title_of_its_own(capsys: pytest.CaptureFixture[str]) -> None:
    steps = ("export", "receive", "calibrate", "quantize", "self-test", "fidelity", "scales", "store")
    with PushProgress() as progress:
        for step in steps:
            progress(step, 0, 2)
            progress(step, 2, 2)
    captured = capsys.readouterr()
    assert not captured.out
    assert captured.err.splitlines() == [
        "Export the graph …",
        "Send to the server …",
        "Calibrate …",
        "Quantize …",
        "Compute the self-test …",
        "Measure the fidelity …",
        "Keep scales …",
        "Store the blobs …",
    ]


def test_a_step_that_only_the_server_knows_is_shown_without_its_control_characters(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with PushProgress() as progress:
        progress("polish\x1b[2J", 1, 1)
    assert "polish" in (error := capsys.readouterr().err)
    assert "\x1b" not in error


def test_how_many_rows_kept_their_scales_is_remembered() -> None:
    with PushProgress() as progress:
        assert progress.kept_scales is None
        progress("scales", 7, 9)
        progress("store", 0, 1)
    assert progress.kept_scales == (7, 9)
