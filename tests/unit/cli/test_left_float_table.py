from __future__ import annotations

import pytest

from common.graph.left_float import LeftFloat
from server.cli.left_float_table import left_float_json, print_left_float


def states(count: int) -> list[LeftFloat]:
    return [LeftFloat(f"layer{index}.bias", 1024 * (count - index), "a bias") for index in range(count)]


def test_the_largest_are_shown_with_their_reasons_and_all_where_asked_for(
    capsys: pytest.CaptureFixture[str],
) -> None:
    print_left_float(states(10), every=False)
    lines = capsys.readouterr().out.splitlines()
    assert lines[1] == "left in float: 10 tensors, 55.0 KiB at every level"
    assert ["layer0.bias", "10.0", "KiB", "a", "bias"] in [line.split() for line in lines]
    assert sum("layer" in line for line in lines) == 8
    assert lines[-1] == "8 of 10 tensors; all with --blocks"
    print_left_float(states(10), every=True)
    assert sum("layer" in line for line in capsys.readouterr().out.splitlines()) == 10


def test_a_model_that_becomes_codes_as_a_whole_has_no_table(capsys: pytest.CaptureFixture[str]) -> None:
    print_left_float([], every=True)
    assert capsys.readouterr().out == ""


def test_json_has_all_of_them() -> None:
    assert left_float_json(states(1)) == [{"name": "layer0.bias", "size_bytes": 1024, "reason": "a bias"}]
