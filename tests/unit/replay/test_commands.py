"""``nestfleet-agent trace`` and ``replay`` on the command line."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
import zstandard

from common.manifest import to_json
from device_agent.__main__ import main
from device_agent.replay.made_up import made_up_version
from device_agent.replay.trace import read_trace

PNG = b"\x89PNG"


def test_what_is_recorded_can_be_replayed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    trace, store = str(tmp_path / "day.trace"), ["--store-dir", str(tmp_path)]
    main(["trace", "--record", trace, "--seconds", "0.05", "--every", "0.01", *store])
    assert capsys.readouterr().out == f"6 looks in {trace}\n"
    looks = read_trace(Path(trace))
    assert all(look.readings.disk_free_bytes and look.readings.memory_limit_bytes for look in looks)
    main(["replay", trace, "--model-size", "8 MiB", "--json", "--reserve-bytes", "0"])
    tree = json.loads(capsys.readouterr().out)
    assert tree["looks"] == 6
    assert tree["seconds_over_budget"] == 0


def test_a_look_at_the_sensors(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(["trace", "--store-dir", str(tmp_path), "--metered", "yes"])
    tree = json.loads(capsys.readouterr().out)
    assert tree["metered"] is True
    assert tree["process_bytes"] > 0


@pytest.mark.parametrize("packed", [False, True])
def test_a_solar_day_with_a_manifest_and_a_picture(
    packed: bool,  # noqa: FBT001
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    data = to_json(made_up_version(110 << 20))
    manifest, picture = tmp_path / "manifest", tmp_path / "sub" / "day.png"
    manifest.write_bytes(zstandard.ZstdCompressor().compress(data) if packed else data)
    main(["replay", "--solar-day", "--manifest", str(manifest), "--plot", str(picture)])
    out = capsys.readouterr().out
    assert "over budget 0 s" in out
    assert "at 8 bits" in out
    assert picture.read_bytes().startswith(PNG)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["replay", "--model-size", "1MiB"], "What shall be played"),
        (["replay", "none", "--solar-day", "--model-size", "1MiB"], "What shall be played"),
        (["replay", "none", "--model-size", "1MiB"], "cannot be read"),
        (["replay", "--solar-day"], "With which version"),
        (["replay", "--solar-day", "--model-size", "1 MB"], "is no size"),
        (["replay", "--solar-day", "--manifest", "none"], "cannot be read"),
        (["replay", "--solar-day", "--manifest", "pyproject"], "no JSON"),
        (["replay", "--solar-day", "--manifest", "frame"], "damaged|less|manifest"),
        (["replay", "--solar-day", "--model-size", "1MiB", "--plot", "day.nonsense"], "cannot be written"),
        (["trace", "--seconds", "nan"], "no time to record"),
        (["trace", "--seconds", "1", "--every", "2"], "no time to record"),
        (["trace", "--seconds", "1", "--switches-per-hour", "3"], "even number"),
    ],
)
def test_bad_input_is_one_line_that_says_what_to_do(
    arguments: list[str],
    said: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "pyproject").write_text("[project]\n")
    (tmp_path / "frame").write_bytes(b"\x28\xb5\x2f\xfd" + b"\xff" * 20)
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 1
    error = capsys.readouterr().err
    assert error.startswith("nestfleet-agent: ")
    assert error.count("\n") == 1
    assert any(part in error for part in said.split("|"))


def test_a_board_without_matplotlib_is_told_what_to_install(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(SystemExit):
        main(["replay", "--solar-day", "--model-size", "1MiB", "--plot", "day.png"])
    assert "pip install 'nestfleet[plot]'" in capsys.readouterr().err
