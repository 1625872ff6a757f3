from __future__ import annotations

import pytest
from nestfleet.v1 import catalog_pb2

from server.cli import wording


@pytest.mark.parametrize(
    ("age_ms", "text"),
    [(0, "0 s"), (59_999, "59 s"), (60_000, "1 min"), (3_600_000, "1 h"), (90_000_000, "1 d"), (-5, "0 s")],
)
def test_an_age_is_told_in_the_largest_fitting_unit(age_ms: int, text: str) -> None:
    now_ms = 10**12
    assert wording.age(now_ms - age_ms, now_ms) == text


def test_what_never_was_is_a_dash() -> None:
    assert wording.age(0, 10**12) == "-"
    assert wording.utc_time(0) == "-"
    assert wording.version_name(catalog_pb2.VersionRef()) == "-"
    assert wording.percent(1, 0) == "-"


def test_times_are_utc_to_the_minute() -> None:
    assert wording.utc_time(1_700_000_000_000) == "2023-11-14 22:13"


@pytest.mark.parametrize(
    ("part", "whole", "share", "difference"),
    [
        (27, 100, "27%", "-73%"),
        (102, 100, "102%", "+2%"),
        (15, 100_000, "0.015%", "-100%"),
        (0, 9, "0%", "-100%"),
    ],
)
def test_shares(part: int, whole: int, share: str, difference: str) -> None:
    assert wording.percent(part, whole) == share
    assert wording.difference(part, whole) == difference


def test_counts_agree_with_their_noun() -> None:
    assert [wording.count(number, "blob") for number in (0, 1, 1200)] == ["0 blobs", "1 blob", "1,200 blobs"]
