"""What the demo must reach, judged from its report. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from common.byte_sizes import format_bytes

_MOST_OF_PAPER: Final = 0.87
_MOST_METADATA: Final = 0.01
_MOST_LOST_POINTS: Final[Mapping[str, float]] = {"8": 0.3, "6": 0.5, "4": 2.0}
_LEAST_ACCURACY: Final = 0.975
_ACTIVATIONS: Final = 0.05
_ROUNDING: Final = 1e-5  # float additions in another order


@dataclass(frozen=True, slots=True)
class Bar:
    """A claim with what was measured, as text, and whether it holds."""

    claim: str
    measured: str
    limit: str
    holds: bool


def judge(report: Mapping[str, Any], fleet_size: int) -> tuple[Bar, ...]:
    """All bars.

    Args:
        report: As in ``report.json``.
        fleet_size: How many devices must have refused the spoilt version.
    """
    return (
        *_size_bars(report),
        *_accuracy_bars(report["accuracy"]),
        _nearness_bar(report["output_error"]),
        _restored_bar(report["paging_output_error"]),
        _refusal_bar(report, fleet_size),
    )


def _size_bars(report: Mapping[str, Any]) -> tuple[Bar, ...]:
    full_bytes = report["full_wire_bytes"]
    return (
        _at_most(
            "whole version against the paper's packing",
            full_bytes / report["paper_packed_bytes"],
            _MOST_OF_PAPER,
        ),
        _at_most(
            "metadata against the whole version", report["metadata_wire_bytes"] / full_bytes, _MOST_METADATA
        ),
        _nothing("payload on the wire to shrink", report["evict_wire_bytes"]),
        _nothing("payload on the wire to grow again", report["page_in_wire_bytes"]),
        _less(
            "bytes for version 2 against all of it", report["update_wire_bytes"], report["update_full_bytes"]
        ),
        _same("what moved is what the manifest names", full_bytes, report["full_named_bytes"]),
    )


def _accuracy_bars(accuracy: Mapping[str, float]) -> tuple[Bar, ...]:
    fp32 = accuracy["fp32"]
    trained = Bar("accuracy in FP32", f"{fp32:.2%}", f"≥ {_LEAST_ACCURACY:.1%}", fp32 >= _LEAST_ACCURACY)
    return (trained, *(_accuracy_bar(fp32, accuracy[level], level) for level in _MOST_LOST_POINTS))


def _accuracy_bar(fp32: float, measured: float, level: str) -> Bar:
    lost_points = 100 * (fp32 - measured)
    limit = _MOST_LOST_POINTS[level]
    text = f"{measured:.2%} ({0.0 - lost_points:+.2f})"
    return Bar(
        f"accuracy at {level} bits, points lost to FP32", text, f"≤ {limit:.1f} lost", lost_points <= limit
    )


def _nearness_bar(errors: Mapping[str, float]) -> Bar:
    """Each level must be nearer to FP32 than the one below: what runs at "8 bits" is no base in disguise.

    The board at 6 bits has the blocks that matter most at 8, so from there to the top it is not far; and
    where memory allows a board multiplies in integers, whose activations cost some percent at any level.
    """
    ordered = low, middle, high = [errors[level] for level in ("4", "6", "8")]
    falls = max(middle, high) < min(low / 2, _ACTIVATIONS)
    text = ", ".join(f"{error:.2%}" for error in ordered)
    limit = f"halves, < {_ACTIVATIONS:.0%}"
    return Bar("distance of the outputs to FP32 at 4, 6, 8 bits", text, limit, falls)


def _restored_bar(errors: Mapping[str, float]) -> Bar:
    same = abs(errors["before"] - errors["restored"]) < _ROUNDING
    worse = errors["evicted"] > errors["before"] + _ROUNDING
    text = ", ".join(f"{errors[moment]:.2%}" for moment in ("before", "evicted", "restored"))
    return Bar("the same before, evicted, restored", text, "ends as it began", same and worse)


def _refusal_bar(report: Mapping[str, Any], fleet_size: int) -> Bar:
    refused = len(report["rolled_back"])
    claim = "boards that refused the spoilt version"
    return Bar(claim, str(refused), f"all {fleet_size}", refused == fleet_size)


def _at_most(claim: str, share: float, limit: float) -> Bar:
    return Bar(claim, f"{share:.2%}", f"≤ {limit:.0%}", share <= limit)


def _nothing(claim: str, size_bytes: int) -> Bar:
    return Bar(claim, format_bytes(size_bytes), "0 B", size_bytes == 0)


def _less(claim: str, size_bytes: int, limit_bytes: int) -> Bar:
    return Bar(
        claim, format_bytes(size_bytes), f"< {format_bytes(limit_bytes)}", 0 < size_bytes < limit_bytes
    )


def _same(claim: str, size_bytes: int, named_bytes: int) -> Bar:
    return Bar(claim, f"{size_bytes} B", f"{named_bytes} B", size_bytes == named_bytes)
