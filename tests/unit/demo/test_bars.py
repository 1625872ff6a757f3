from __future__ import annotations

from typing import Any

import pytest

from benchmarks.demo.bars import judge

GOOD: dict[str, Any] = {
    "full_wire_bytes": 8_700,
    "full_named_bytes": 8_700,
    "paper_packed_bytes": 10_000,
    "metadata_wire_bytes": 87,
    "evict_wire_bytes": 0,
    "page_in_wire_bytes": 0,
    "update_wire_bytes": 10,
    "update_full_bytes": 8_700,
    "accuracy": {"fp32": 0.99, "8": 0.988, "6": 0.986, "4": 0.971},
    "output_error": {"4": 0.1, "6": 0.04, "8": 0.01},
    "paging_output_error": {"before": 0.01, "evicted": 0.1, "restored": 0.01},
    "rolled_back": ["a", "b", "c"],
}


def failed(report: dict[str, Any]) -> list[str]:
    return [bar.claim for bar in judge(report, 3) if not bar.holds]


def test_everything_at_its_limit_holds() -> None:
    assert failed(GOOD) == []


@pytest.mark.parametrize(
    ("changed", "claim"),
    [
        ({"full_wire_bytes": 8_701, "full_named_bytes": 8_701}, "paper"),
        ({"metadata_wire_bytes": 88}, "metadata"),
        ({"evict_wire_bytes": 1}, "shrink"),
        ({"page_in_wire_bytes": 1}, "grow"),
        ({"update_wire_bytes": 8_700}, "version 2"),
        ({"update_wire_bytes": 0}, "version 2"),
        ({"full_named_bytes": 8_699}, "manifest"),
        ({"rolled_back": ["a", "b"]}, "refused"),
        ({"output_error": {"4": 0.1, "6": 0.1, "8": 0.01}}, "distance"),
        ({"output_error": {"4": 0.2, "6": 0.01, "8": 0.06}}, "distance"),
        ({"paging_output_error": {"before": 0.01, "evicted": 0.1, "restored": 0.02}}, "restored"),
        ({"paging_output_error": {"before": 0.01, "evicted": 0.01, "restored": 0.01}}, "restored"),
        ({"accuracy": {"fp32": 0.974, "8": 0.974, "6": 0.974, "4": 0.974}}, "FP32"),
        ({"accuracy": {"fp32": 0.99, "8": 0.9869, "6": 0.986, "4": 0.971}}, "8 bits"),
        ({"accuracy": {"fp32": 0.99, "8": 0.988, "6": 0.9849, "4": 0.971}}, "6 bits"),
        ({"accuracy": {"fp32": 0.99, "8": 0.988, "6": 0.986, "4": 0.9699}}, "4 bits"),
    ],
)
def test_what_goes_beyond_a_limit_fails_alone(changed: dict[str, Any], claim: str) -> None:
    claims = failed({**GOOD, **changed})
    assert len(claims) == 1
    assert claim in claims[0]


def test_accuracy_above_fp32_is_no_loss() -> None:
    assert failed({**GOOD, "accuracy": {"fp32": 0.985, "8": 1.0, "6": 1.0, "4": 1.0}}) == []
