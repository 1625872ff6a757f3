from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from nestfleet.v1 import catalog_pb2, control_pb2

from common.channel import MAX_MANIFEST_BYTES
from common.errors import InvalidInputError
from common.transfer_limits import NO_LIMITS, MeteredRule, TransferLimits
from device_agent.link.messages import MAX_PAYLOAD_BYTES, read_goals, read_limits
from device_agent.store.records import Goal, Release


def assignment(**changes: object) -> control_pb2.Assignment:
    fields: dict[str, object] = {
        "device_id": "board",
        "generation": 3,
        "ref": catalog_pb2.VersionRef(model="net", version=2),
        "manifest_digest": bytes(32),
        "manifest_size_bytes": 1000,
        "max_level": 6,
        "allow_older": True,
    }
    return control_pb2.Assignment(**{**fields, **changes})  # type: ignore[arg-type]


def further(model: str, *, max_level: int = 0) -> control_pb2.FurtherVersion:
    ref = catalog_pb2.VersionRef(model=model, version=1)
    return control_pb2.FurtherVersion(
        ref=ref, manifest_digest=bytes(32), manifest_size_bytes=9, max_level=max_level
    )


def test_a_goal() -> None:
    goals = read_goals(assignment().SerializeToString(), "board")
    assert goals == (Goal(3, Release("net", 2, "00" * 32, 1000), 6, allow_older=True),)
    assert read_goals(b"", "board") == ()


def test_goals_of_several_models_are_of_one_generation_and_have_each_its_own_level() -> None:
    message = assignment(further=[further("speech"), further("vision", max_level=4)])
    goals = read_goals(message.SerializeToString(), "board")
    assert [(goal.release.model, goal.max_level, goal.generation) for goal in goals] == [
        ("net", 6, 3),
        ("speech", 0, 3),
        ("vision", 4, 3),
    ]


@pytest.mark.parametrize(
    "others",
    [
        ["net"],
        ["speech", "speech"],
        ["../speech"],
        [""],
        [f"m{index}" for index in range(8)],
    ],
)
def test_models_that_are_too_many_or_named_twice_or_not_at_all_are_refused(others: list[str]) -> None:
    message = assignment(further=[further(name) for name in others])
    with pytest.raises(InvalidInputError):
        read_goals(message.SerializeToString(), "board")


@pytest.mark.parametrize(
    "changes",
    [
        {"device_id": "other"},
        {"device_id": ""},
        {"generation": 0},
        {"generation": (1 << 64) - 1},
        {"ref": None},
        {"ref": catalog_pb2.VersionRef(model="net", version=0)},
        {"ref": catalog_pb2.VersionRef(model="../net", version=1)},
        {"ref": catalog_pb2.VersionRef(model="net", version=(1 << 32) - 1)},
        {"manifest_digest": bytes(31)},
        {"manifest_size_bytes": 0},
        {"manifest_size_bytes": MAX_MANIFEST_BYTES + 1},
        {"max_level": 9},
    ],
)
def test_a_goal_that_does_not_fit_is_refused(changes: dict[str, object]) -> None:
    with pytest.raises(InvalidInputError):
        read_goals(assignment(**changes).SerializeToString(), "board")


def test_limits() -> None:
    message = control_pb2.Limits(device_id="board", generation=2, memory_budget_bytes=5)
    assert read_limits(message.SerializeToString(), "board") == (2, 5, NO_LIMITS)
    assert read_limits(b"", "board") == (0, 0, NO_LIMITS)
    with pytest.raises(InvalidInputError):
        read_limits(message.SerializeToString(), "other")
    message.memory_budget_bytes = (1 << 64) - 1
    with pytest.raises(InvalidInputError):
        read_limits(message.SerializeToString(), "board")


def test_limits_of_transfer() -> None:
    transfer = control_pb2.TransferLimits(
        bandwidth_bytes_per_second=4096,
        monthly_bytes=7,
        metered=control_pb2.METERED_RULE_BASE_ONLY,
        quiet_hours="22:00-06:00",
    )
    message = control_pb2.Limits(device_id="board", generation=1, transfer=transfer)
    wanted = TransferLimits(4096, 7, MeteredRule.BASE_ONLY, "22:00-06:00")
    assert read_limits(message.SerializeToString(), "board") == (1, 0, wanted)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("bandwidth_bytes_per_second", 9),
        ("monthly_bytes", (1 << 64) - 1),
        ("metered", 77),
        ("quiet_hours", "9-5"),
    ],
)
def test_limits_of_transfer_that_are_absurd_are_refused(name: str, value: object) -> None:
    message = control_pb2.Limits(device_id="board", generation=1)
    setattr(message.transfer, name, value)
    with pytest.raises(InvalidInputError):
        read_limits(message.SerializeToString(), "board")


def test_a_payload_that_is_too_large_is_refused() -> None:
    with pytest.raises(InvalidInputError):
        read_goals(bytes(MAX_PAYLOAD_BYTES + 1), "board")


@given(st.binary(min_size=1, max_size=200))
def test_garbage_is_refused_or_a_message(payload: bytes) -> None:
    for read in (read_goals, read_limits):
        try:
            read(payload, "board")
        except InvalidInputError:
            continue
