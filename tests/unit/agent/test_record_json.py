from __future__ import annotations

import json
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
    Traffic,
)

counts = st.integers(0, 1 << 62)
names = st.from_regex(r"[a-z0-9][a-z0-9._-]{0,20}", fullmatch=True)
digests = st.from_regex(r"[0-9a-f]{64}", fullmatch=True)
releases = st.builds(Release, names, counts, digests, counts)
installed = st.builds(Installed, releases, st.integers(0, 8))
records = st.builds(
    AgentRecord,
    names,
    digests,
    broker=st.none() | st.builds(Broker, names, counts, st.booleans()),
    seen_generation=counts,
    goal=st.none() | st.builds(Goal, counts, releases, st.integers(0, 8), allow_older=st.booleans()),
    limit_bytes=counts,
    active=st.none() | installed,
    previous=st.none() | installed,
    newest_proven=st.dictionaries(names, counts, max_size=3),
    failure=st.none()
    | st.builds(Failure, counts, releases, st.sampled_from(list(ErrorCode)).map(str), st.text()),
    attempt=st.none() | st.builds(Attempt, st.text(), counts),
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
RECORD = AgentRecord("board", "ab" * 32, active=Installed(Release("net", 1, "cd" * 32, 9)))


@given(records)
def test_a_record_comes_back(record: AgentRecord) -> None:
    assert decode_record(encode_record(record)) == record


def test_the_key_is_not_shown() -> None:
    assert RECORD.enrolment_key not in repr(RECORD)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("format", 2),
        ("device_id", "No Name"),
        ("enrolment_key", "short"),
        ("seen_generation", -1),
        ("seen_generation", "1"),
        ("newest_proven", []),
        ("active", {}),
        ("active", {"release": {"model": "../x"}}),
        ("goal", 7),
        ("attempt", {"what": 1, "count": 1}),
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
    del tree["previous"]
    with pytest.raises(IntegrityError):
        decode_record(json.dumps(tree).encode())
