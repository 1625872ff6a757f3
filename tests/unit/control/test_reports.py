from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st
from nestfleet.v1 import catalog_pb2, control_pb2

from common.errors import InvalidInputError
from common.topics import Topic, topic_for
from server.control.reports import MAX_PAYLOAD_BYTES, read_report, version_named

STATE = topic_for("kitchen", Topic.STATE)


def test_each_topic_has_its_message() -> None:
    presence = control_pb2.Presence(device_id="kitchen", session_id="s", online=True)
    assert read_report(topic_for("kitchen", Topic.PRESENCE), presence.SerializeToString()) == presence
    ledger = control_pb2.LedgerReport(device_id="kitchen", ledger_id="l")
    assert read_report(topic_for("kitchen", Topic.LEDGER), ledger.SerializeToString()) == ledger
    state = control_pb2.DeviceState(device_id="kitchen", level=4)
    assert read_report(STATE, state.SerializeToString()) == state


def test_a_message_that_was_taken_away_reports_nothing() -> None:
    assert read_report(STATE, b"") is None


@pytest.mark.parametrize(
    ("topic", "payload", "why"),
    [
        ("elsewhere", b"x", "No report"),
        (topic_for("kitchen", Topic.ASSIGNMENT), b"x", "No report"),
        (STATE, b"\xff" * 9, "no DeviceState"),
        (STATE, control_pb2.DeviceState(device_id="cellar").SerializeToString(), "speaks for 'cellar'"),
        (STATE, control_pb2.DeviceState(level=4).SerializeToString(), "speaks for ''"),
        (STATE, bytes(MAX_PAYLOAD_BYTES + 1), "more than"),
    ],
)
def test_what_is_no_report(topic: str, payload: bytes, why: str) -> None:
    with pytest.raises(InvalidInputError, match=why):
        read_report(topic, payload)


@given(st.sampled_from([STATE, topic_for("kitchen", Topic.LEDGER)]), st.binary(max_size=300))
def test_garbage_never_breaks_the_reader(topic: str, payload: bytes) -> None:
    with contextlib.suppress(InvalidInputError):
        report = read_report(topic, payload)
        assert report is None or report.device_id == "kitchen"


def test_versions_that_can_be() -> None:
    def named(model: str, version: int) -> tuple[str, int] | None:
        return version_named(catalog_pb2.VersionRef(model=model, version=version))

    assert named("digits", 3) == ("digits", 3)
    assert named("", 0) is None
    assert named("digits", 0) is None
    assert named("No Name", 1) is None
    assert named("digits", 0xFFFFFFFF) is None
