from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.errors import ErrorCode, IntegrityError
from common.transfer_limits import MeteredRule, TransferLimits
from device_agent.store.record_json import decode_record, encode_record
from device_agent.store.records import (
    AgentRecord,
    Attempt,
    Broker,
    Failure,
    Goal,
    Installed,
    MonthCount,
    Release,
    Slot,
    Traffic,
)

counts = st.integers(0, 1 << 62)
names = st.from_regex(r"[a-z0-9][a-z0-9._-]{0,20}", fullmatch=True)
digests = st.from_regex(r"[0-9a-f]{64}", fullmatch=True)
codes = st.sampled_from(list(ErrorCode)).map(str)
levels = st.integers(0, 8)


def slots_of(model: str) -> st.SearchStrategy[Slot]:
    releases = st.builds(Release, st.just(model), counts, digests, counts)
    installed = st.builds(Installed, releases, levels)
    return st.builds(
        Slot,
        st.just(model),
        goal=st.none()
        | st.builds(Goal, counts, releases, levels, allow_older=st.booleans(), issued_unix_ms=counts),
        active=st.none() | installed,
        previous=st.none() | installed,
        failure=st.none() | st.builds(Failure, counts, releases, codes, st.text()),
        attempt=st.none() | st.builds(Attempt, st.text(), counts),
    )


slots = st.lists(names, unique=True, max_size=3).flatmap(
    lambda models: st.tuples(*(slots_of(model) for model in models))
)
records = st.builds(
    AgentRecord,
    names,
    digests,
    broker=st.none() | st.builds(Broker, names, counts, st.booleans()),
    seen_generation=counts,
    limit_bytes=counts,
    slots=slots,
    newest_proven=st.dictionaries(names, counts, max_size=3),
    transfer_limits=st.builds(
        TransferLimits,
        counts,
        counts,
        st.none() | st.sampled_from(MeteredRule),
        st.sampled_from(["", "22:00-06:00", "00:00-00:00"]),
    ),
    traffic=st.none()
    | st.builds(
        Traffic,
        names,
        counts,
        st.lists(st.builds(MonthCount, counts, counts), min_size=1, max_size=3).map(tuple),
        counts,
    ),
)
LIMITS = {"bandwidth_bytes_per_second": 0, "monthly_bytes": 0, "metered": None, "quiet_hours": ""}
RELEASE = Release("net", 1, "cd" * 32, 9)
SLOT = Slot("net", active=Installed(RELEASE))
RECORD = AgentRecord("board", "ab" * 32, slots=(SLOT,))
EMPTY_SLOT = {
    "model": "net",
    "goal": None,
    "active": None,
    "previous": None,
    "failure": None,
    "attempt": None,
}


@given(records)
def test_a_record_comes_back(record: AgentRecord) -> None:
    assert decode_record(encode_record(record)) == record


def test_the_key_is_not_shown() -> None:
    assert RECORD.enrolment_key not in repr(RECORD)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("format", 3),
        ("format", "2"),
        ("device_id", "No Name"),
        ("enrolment_key", "short"),
        ("seen_generation", -1),
        ("seen_generation", "1"),
        ("newest_proven", []),
        ("slots", 7),
        ("slots", [7]),
        ("slots", [{}]),
        ("slots", [{**EMPTY_SLOT, "model": "../x"}]),
        ("slots", [EMPTY_SLOT, EMPTY_SLOT]),
        ("slots", [{**EMPTY_SLOT, "active": {}}]),
        ("slots", [{**EMPTY_SLOT, "active": {"release": {"model": "../x"}}}]),
        ("slots", [{**EMPTY_SLOT, "model": "speech", "active": asdict(Installed(RELEASE))}]),
        ("slots", [{**EMPTY_SLOT, "goal": 7}]),
        ("slots", [{**EMPTY_SLOT, "attempt": {"what": 1, "count": 1}}]),
        ("transfer_limits", {}),
        ("transfer_limits", 3),
        ("transfer_limits", {**LIMITS, "metered": "some"}),
        ("transfer_limits", {**LIMITS, "quiet_hours": "now"}),
        ("transfer_limits", {**LIMITS, "monthly_bytes": -1}),
        ("traffic", {"ledger_id": "x", "ledger_bytes": 1, "months": []}),
        ("traffic", {"ledger_id": "x", "ledger_bytes": 1, "months": [{"month": 1}]}),
    ],
)
def test_a_damaged_record_is_refused(key: str, value: object) -> None:
    tree: dict[str, Any] = json.loads(encode_record(RECORD))
    tree[key] = value
    with pytest.raises(IntegrityError):
        decode_record(json.dumps(tree).encode())


@given(st.binary(max_size=100))
def test_garbage_is_refused(data: bytes) -> None:
    with pytest.raises(IntegrityError):
        decode_record(data)


def test_a_record_of_a_release_before_limits_of_transfer_is_read() -> None:
    tree = json.loads(encode_record(RECORD))
    del tree["transfer_limits"], tree["traffic"]
    assert decode_record(json.dumps(tree).encode()) == RECORD


def test_a_missing_field_is_refused() -> None:
    tree = json.loads(encode_record(RECORD))
    del tree["slots"][0]["previous"]
    with pytest.raises(IntegrityError):
        decode_record(json.dumps(tree).encode())


def old_record(**parts: object) -> bytes:
    """A record of a release that knew one model at a time."""
    tree: dict[str, Any] = json.loads(encode_record(RECORD))
    del tree["slots"]
    nothing = dict.fromkeys(("goal", "active", "previous", "failure", "attempt"))
    told = {name: asdict(part) for name, part in parts.items()}  # type: ignore[call-overload]
    if "goal" in told:
        del told["goal"]["issued_unix_ms"]
    return json.dumps({**tree, "format": 1, **nothing, **told}).encode()


def test_a_record_of_one_model_is_read_as_its_slot() -> None:
    older, newer = Installed(Release("net", 1, "cd" * 32, 9), 6), Installed(Release("net", 2, "ef" * 32, 9))
    goal = Goal(7, Release("net", 3, "01" * 32, 9), 4, allow_older=True)
    failure = Failure(7, goal.release, "self_test_failed", "no")
    attempt = Attempt(f"{'ef' * 32} in full", 2)
    data = old_record(goal=goal, active=newer, previous=older, failure=failure, attempt=attempt)
    assert decode_record(data).slots == (Slot("net", goal, newer, older, failure, attempt),)
    assert decode_record(old_record()).slots == ()


def test_a_record_in_which_one_model_took_the_place_of_another_is_read_as_two_slots() -> None:
    speech, net = Installed(Release("speech", 5, "ef" * 32, 9)), Installed(RELEASE)
    goal = Goal(7, speech.release)
    attempt = Attempt(f"{RELEASE.manifest_digest} base", 1)
    found = decode_record(old_record(goal=goal, active=speech, previous=net, attempt=attempt))
    assert found.slots == (
        Slot("speech", goal=goal, active=speech),
        Slot("net", active=net, attempt=attempt),
    )
    waiting = decode_record(old_record(goal=goal, active=net, previous=speech))
    assert waiting.slots == (Slot("speech", goal=goal, active=speech), Slot("net", active=net))


@pytest.mark.parametrize("name", ["goal", "active", "previous", "failure", "attempt"])
@pytest.mark.parametrize("value", [7, {}, {"release": {}}, {"release": {"model": ["net"]}}, {"what": 3}])
def test_a_damaged_record_of_one_model_is_refused(name: str, value: object) -> None:
    tree = json.loads(old_record(active=Installed(RELEASE)))
    tree[name] = value
    with pytest.raises(IntegrityError):
        decode_record(json.dumps(tree).encode())
