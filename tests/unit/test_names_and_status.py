"""Names, topics, digests, and the table between errors and gRPC statuses."""

from __future__ import annotations

import grpc
import pytest
from hypothesis import given
from hypothesis import strategies as st

from common import errors
from common.digest import from_wire, sha256_hex, to_wire
from common.names import check_name, is_name, parse_version_ref
from common.rpc_status import STATUS, from_status, to_status
from common.topics import DeviceTopic, Topic, parse_topic, subscription, topic_for


def error_classes() -> list[type[errors.Error]]:
    """Those that the wire knows; one side may have subclasses of its own."""
    found = [errors.Error]
    for cls in found:
        found.extend(sub for sub in cls.__subclasses__() if sub.__module__ == errors.__name__)
    return found


def test_every_error_code_has_a_class_and_a_status() -> None:
    assert {cls.code for cls in error_classes()} == set(errors.ErrorCode) == set(STATUS)


@pytest.mark.parametrize("cls", error_classes())
def test_an_error_survives_the_wire(cls: type[errors.Error]) -> None:
    status, message, trailers = to_status(cls("It broke.", advice="Mend it."))
    back = from_status(status, message, trailers)
    assert type(back) is cls
    assert str(back) == "It broke. Mend it."


def test_a_message_fits_a_trailer_and_keeps_its_advice() -> None:
    _, message, _ = to_status(errors.InvalidInputError("\N{SNOWMAN}" * 100_000, advice="Mend it."))
    assert len(message.encode()) * 3 < 8192
    assert message.endswith("… Mend it.")


@pytest.mark.parametrize("status", list(grpc.StatusCode))
def test_every_bare_status_gives_an_error(status: grpc.StatusCode) -> None:
    assert isinstance(from_status(status, ""), errors.Error)


@pytest.mark.parametrize("name", ["a", "resnet-18", "0.1_x", "a" * 64])
def test_good_names(name: str) -> None:
    assert check_name(name, what="model") == name


@pytest.mark.parametrize("name", ["", "A", "a/b", "..", ".a", "a b", "a" * 65, "ü", "a\n", "a#", "a+"])
def test_bad_names_are_refused_with_advice(name: str) -> None:
    with pytest.raises(errors.InvalidInputError, match="Use 1 to 64 characters"):
        check_name(name, what="model")


def test_version_references() -> None:
    assert parse_version_ref("digits") == ("digits", 0)
    assert parse_version_ref("digits:12") == ("digits", 12)
    for text in ("digits:", "digits:0", "digits:-1", "digits:x", "digits:99999999999", ":1", "digits:٣"):
        with pytest.raises(errors.InvalidInputError):
            parse_version_ref(text)


@given(st.text(max_size=80), st.sampled_from(Topic))
def test_topics_round_trip_for_names_and_reject_the_rest(device_id: str, topic: Topic) -> None:
    parsed = parse_topic(topic_for(device_id, topic))
    assert parsed == (DeviceTopic(device_id, topic) if is_name(device_id) else None)


def test_foreign_topics_are_not_ours() -> None:
    assert subscription(Topic.STATE) == "nestfleet/v1/devices/+/state"
    for text in (
        "",
        "nestfleet/v1/devices/a",
        "nestfleet/v1/devices/a/state/x",
        "nestfleet/v2/devices/a/state",
        "nestfleet/v1/devices/a/x",
    ):
        assert parse_topic(text) is None


def test_digests_have_32_bytes() -> None:
    digest = sha256_hex(b"")
    assert from_wire(to_wire(digest)) == digest
    with pytest.raises(errors.InvalidInputError, match="32 bytes"):
        from_wire(b"short")
    with pytest.raises(errors.InvalidInputError, match="no SHA-256"):
        to_wire("zz")
