from __future__ import annotations

import pytest
import typer

from common.errors import InvalidInputError
from server.cli.named_versions import versions_and_devices


@pytest.mark.parametrize(
    ("names", "all_devices", "versions", "devices"),
    [
        (["digits"], True, [("digits", 0)], []),
        (["digits:2"], True, [("digits", 2)], []),
        (["digits:2", "speech:1"], True, [("digits", 2), ("speech", 1)], []),
        (["digits", "board-1", "board-2"], False, [("digits", 0)], ["board-1", "board-2"]),
        (["digits:2", "board-1"], False, [("digits", 2)], ["board-1"]),
        (["board-1", "digits:2"], False, [("digits", 2)], ["board-1"]),
        (["board-1", "digits:2", "speech:1"], False, [("digits", 2), ("speech", 1)], ["board-1"]),
    ],
)
def test_versions_and_devices_are_told_apart(
    names: list[str],
    all_devices: bool,  # noqa: FBT001  as said on the command line
    versions: list[tuple[str, int]],
    devices: list[str],
) -> None:
    assert versions_and_devices(names, all_devices=all_devices) == (versions, devices)


@pytest.mark.parametrize(
    ("names", "all_devices"), [(["digits"], False), (["digits:1"], False), (["digits:1", "board-1"], True)]
)
def test_neither_devices_nor_all_or_both_is_wrong_usage(
    names: list[str],
    all_devices: bool,  # noqa: FBT001  as said on the command line
) -> None:
    with pytest.raises(typer.BadParameter):
        versions_and_devices(names, all_devices=all_devices)


@pytest.mark.parametrize(
    "names",
    [
        ["board-1", "digits:0"],
        ["board-1", "digits:1", "digits:2"],
        ["board-1", *(f"m{index}:1" for index in range(9))],
        ["Board 1", "digits:1"],
    ],
)
def test_names_that_cannot_be_are_refused(names: list[str]) -> None:
    with pytest.raises(InvalidInputError):
        versions_and_devices(names, all_devices=False)
