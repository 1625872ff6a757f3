from __future__ import annotations

import json
import math

import pytest
from google.protobuf.message import Message
from nestfleet.v1 import catalog_pb2, control_pb2, fleet_pb2

from server.cli.plain import plain


def test_numbers_stay_numbers_and_bytes_become_hex_digits() -> None:
    version = catalog_pb2.Version(manifest_digest=b"\x00\xff", manifest_size_bytes=2**60, levels=[4, 8])
    tree = plain(version)
    assert (tree["manifest_digest"], tree["manifest_size_bytes"], tree["levels"]) == ("00ff", 2**60, [4, 8])


def test_enums_are_words_without_their_types_name() -> None:
    assert plain(control_pb2.DeviceState(phase=control_pb2.PHASE_FETCHING))["phase"] == "fetching"
    total = control_pb2.TransferTotal(kind=control_pb2.TRANSFER_KIND_BASE)
    assert plain(total)["kind"] == "base"


def test_an_enum_value_of_a_later_release_is_its_number() -> None:
    state = control_pb2.DeviceState()
    state.MergeFromString(b"\x20\x63")  # phase, 99
    assert plain(state)["phase"] == "99"


def test_what_is_not_set_is_none() -> None:
    assert plain(fleet_pb2.Device(device_id="a"))["state"] is None


@pytest.mark.parametrize(
    "message",
    [
        fleet_pb2.Device(state=control_pb2.DeviceState(first_inference_seconds=math.nan)),
        fleet_pb2.Device(state=control_pb2.DeviceState(first_inference_seconds=math.inf)),
        fleet_pb2.Device(agent_version="\x1b[2J\u009b"),
        catalog_pb2.Version(sizes=catalog_pb2.SizeReport(shards=[catalog_pb2.LevelSize(level=6)])),
    ],
)
def test_every_message_is_strict_json(message: Message) -> None:
    text = json.dumps(plain(message), allow_nan=False)
    assert text.isascii()
    assert "\x1b" not in text
