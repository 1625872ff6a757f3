"""Devices: enrolled under one key, given goals, seen, forgotten."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

from common.errors import ConflictError, InvalidInputError, NotFoundError
from common.transfer_limits import NO_LIMITS, MeteredRule, TransferLimits
from server.registry.records import DeviceRecord
from server.registry.repository import Registry
from tests.support.factories import make_version


@pytest.fixture
def fleet(registry: Registry) -> Registry:
    """Three versions of digits and two boards."""
    for _ in range(3):
        registry.add_version("digits", make_version("digits"))
    for name in ("board-1", "board-2"):
        registry.enrol(name, f"key of {name}", "0.1.0", "linux/x86_64", 1000)
    return registry


def test_a_device_is_known_after_enrolling(registry: Registry) -> None:
    enrolled = registry.enrol("board-1", "key", "0.1.0", "linux/x86_64", 1000)
    assert registry.get_device("board-1") == enrolled
    assert registry.list_devices() == [enrolled]
    assert (enrolled.agent_version, enrolled.platform) == ("0.1.0", "linux/x86_64")
    assert (enrolled.enrolled_unix_ms, enrolled.last_seen_unix_ms) == (1000, 1000)
    assert (enrolled.assigned, enrolled.state, enrolled.proven) == ((), b"", None)


def test_the_same_key_is_recognised_and_another_refused(registry: Registry) -> None:
    registry.enrol("board-1", "key", "0.1.0", "linux", 1000)
    again = registry.enrol("board-1", "key", "0.2.0", "linux", 2000)
    assert (again.agent_version, again.enrolled_unix_ms, again.last_seen_unix_ms) == ("0.2.0", 1000, 2000)
    with pytest.raises(ConflictError, match="nestfleet devices --forget board-1"):
        registry.enrol("board-1", "other", "0.1.0", "linux", 3000)


def test_one_of_many_strangers_gets_the_id(registry: Registry) -> None:
    def enrol(key: str) -> bool:
        try:
            registry.enrol("board-1", key, "0.1.0", "linux", 1000)
        except ConflictError:
            return False
        return True

    with ThreadPoolExecutor(6) as pool:
        assert sum(pool.map(enrol, map(str, range(6)))) == 1


def test_what_a_peer_says_of_itself_is_made_fit_to_show(registry: Registry) -> None:
    device = registry.enrol("board-1", "key", "1\x1b[31m\x00\n" + "9" * 100, "linux", 1)
    assert device.agent_version.startswith("1[31m99")
    assert len(device.agent_version) <= 64
    with pytest.raises(InvalidInputError):
        registry.enrol("Board 1", "key", "", "", 1)


def test_unknown_devices_are_not_found(registry: Registry) -> None:
    registry.add_version("digits", make_version("digits"))
    for call in (
        lambda: registry.get_device("board-9"),
        lambda: registry.forget_device("board-9"),
        lambda: registry.set_limits("board-9", 1),
        lambda: registry.assign(["board-9"], "digits", now_ms=1),
    ):
        with pytest.raises(NotFoundError, match="board-9"):
            call()


def test_an_assignment_names_the_version_and_its_manifest(fleet: Registry) -> None:
    devices = fleet.assign(["board-2", "board-1", "board-2"], "digits", max_level=6, now_ms=5)
    assert [device.device_id for device in devices] == ["board-1", "board-2"]
    assert devices == fleet.list_devices()
    newest = fleet.get_version("digits")
    for device in devices:
        (goal,) = device.assigned
        assert (goal.model, goal.version, goal.max_level, goal.allow_older) == ("digits", 3, 6, False)
        assert goal.manifest_digest == newest.manifest_digest
        assert goal.manifest_size_bytes == newest.manifest_size_bytes
        assert (goal.issued_unix_ms, device.assignment_generation) == (5, 1)


@pytest.fixture
def models(fleet: Registry) -> Registry:
    """As ``fleet``, and two versions of speech and of eight more models."""
    for model in ("speech", *(f"m{index}" for index in range(8))):
        for _ in range(2):
            fleet.add_version(model, make_version(model))
    return fleet


def wanted(device: DeviceRecord) -> list[tuple[str, int, int, bool]]:
    return [(item.model, item.version, item.max_level, item.allow_older) for item in device.assigned]


def test_several_models_are_assigned_at_once_and_state_the_whole_set(models: Registry) -> None:
    (device,) = models.assign(["board-1"], "speech", 1, further=[("digits", 0)], max_level=6, now_ms=5)
    assert wanted(device) == [("speech", 1, 6, False), ("digits", 3, 6, False)]
    assert device == models.get_device("board-1")
    assert device.assignment_generation == 1
    for item in device.assigned:
        version = models.get_version(item.model, item.version)
        assert item.manifest_digest == version.manifest_digest
    (device,) = models.assign(["board-1"], "digits", 2, now_ms=6)
    assert wanted(device) == [("digits", 2, 0, False)]
    (device,) = models.assign(["board-1"], "speech", further=[("digits", 3)], now_ms=7)
    assert wanted(device) == [("speech", 2, 0, False), ("digits", 3, 0, False)], "in the operator's order"
    assert models.get_device("board-2").assigned == ()


def test_beside_adds_to_what_is_assigned_or_replaces_the_same_model_in_its_place(models: Registry) -> None:
    models.assign(["board-1"], "digits", 1, max_level=4, now_ms=1)
    models.assign(["board-1"], "speech", 1, beside=True, allow_older=True, now_ms=2)
    (device,) = models.assign(["board-1"], "m0", 1, beside=True, now_ms=3)
    assert wanted(device) == [("digits", 1, 4, False), ("speech", 1, 0, True), ("m0", 1, 0, False)]
    (device,) = models.assign(["board-1"], "digits", 2, further=[("m1", 2)], beside=True, now_ms=4)
    assert wanted(device) == [
        ("digits", 2, 0, False),
        ("speech", 1, 0, True),
        ("m0", 1, 0, False),
        ("m1", 2, 0, False),
    ]
    assert [item.issued_unix_ms for item in device.assigned] == [4, 2, 3, 4]
    assert device.assignment_generation == 4
    first = models.assign(["board-2"], "speech", 1, beside=True, now_ms=5)
    assert wanted(first[0]) == [("speech", 1, 0, False)], "beside nothing it is the first"


def test_a_device_runs_so_many_models_and_no_more_and_each_once(models: Registry) -> None:
    seven = [(f"m{index}", 1) for index in range(7)]
    models.assign(["board-1"], "digits", further=seven, now_ms=1)
    with pytest.raises(InvalidInputError, match="board-1: A device runs at most 8 models at once, not 9"):
        models.assign(None, "speech", beside=True, now_ms=2)
    assert len(models.get_device("board-1").assigned) == 8
    assert models.get_device("board-2").assigned == (), "all or none"
    with pytest.raises(InvalidInputError, match="at most 8"):
        models.assign(["board-2"], "digits", further=[*seven, ("m7", 1)], now_ms=2)
    with pytest.raises(InvalidInputError, match="digits is named twice"):
        models.assign(["board-2"], "digits", 1, further=[("digits", 2)], now_ms=2)
    (device,) = models.assign(["board-1"], "digits", 1, beside=True, now_ms=3)
    assert device.assigned[0].version == 1


def test_a_version_that_one_of_several_devices_wants_among_others_is_not_withdrawn(models: Registry) -> None:
    models.assign(["board-1"], "digits", 1, further=[("speech", 1)], now_ms=1)
    for model in ("digits", "speech"):
        with pytest.raises(ConflictError, match="board-1"):
            models.delete_version(model, 1)
    models.assign(["board-1"], "digits", 2, further=[("speech", 2)], now_ms=2)
    models.delete_version("digits", 1)
    models.forget_device("board-1")
    models.delete_version("speech", 2)


def test_of_every_model_the_newest_that_was_proven_counts(models: Registry) -> None:
    models.record_state("board-1", b"state", ("digits", 3), 5, further=[("speech", 2), ("nobody", 9)])
    with pytest.raises(ConflictError, match="board-1 has proven speech:2"):
        models.assign(["board-1"], "digits", 3, further=[("speech", 1)], now_ms=6)
    with pytest.raises(ConflictError, match="board-1 has proven digits:3"):
        models.assign(["board-1"], "speech", 2, further=[("digits", 1)], now_ms=6)
    models.assign(["board-1"], "digits", 3, further=[("speech", 2)], now_ms=6)


def test_a_level_that_any_of_the_versions_lacks_is_refused(models: Registry) -> None:
    with pytest.raises(InvalidInputError, match="digits:3 has no level 5"):
        models.assign(None, "digits", further=[("speech", 1)], max_level=5, now_ms=1)
    with pytest.raises(NotFoundError, match="speech has no version 9"):
        models.assign(["board-1"], "digits", further=[("speech", 9)], now_ms=1)
    assert models.get_device("board-1").assignment_generation == 0


def test_every_assignment_raises_the_generation(fleet: Registry) -> None:
    for expected in (1, 2, 3):
        (device,) = fleet.assign(["board-1"], "digits", 3, now_ms=expected)
        assert device.assignment_generation == expected
    assert fleet.get_device("board-2").assignment_generation == 0


def test_the_whole_fleet_can_be_assigned_also_when_it_is_empty(registry: Registry) -> None:
    registry.add_version("digits", make_version("digits"))
    assert registry.assign(None, "digits", now_ms=1) == []
    registry.enrol("board-1", "key", "", "", 1)
    registry.enrol("gone", "key", "", "", 1)
    registry.forget_device("gone")
    assert [device.device_id for device in registry.assign(None, "digits", now_ms=1)] == ["board-1"]


def test_a_level_that_the_version_lacks_is_refused(fleet: Registry) -> None:
    with pytest.raises(InvalidInputError, match="4, 6, 8"):
        fleet.assign(None, "digits", max_level=5, now_ms=1)


def test_going_back_behind_what_was_proven_must_be_allowed(fleet: Registry) -> None:
    fleet.record_state("board-2", b"state", ("digits", 3), 5)
    fleet.record_state("board-2", b"state", ("digits", 1), 6)
    with pytest.raises(ConflictError, match=r"board-2 has proven digits:3.*--allow-older"):
        fleet.assign(None, "digits", 2, now_ms=7)
    assert fleet.get_device("board-1").assigned == (), "all or none"
    fleet.assign(["board-1"], "digits", 2, now_ms=7)
    fleet.assign(["board-2"], "digits", 3, now_ms=7)
    devices = fleet.assign(None, "digits", 2, allow_older=True, now_ms=7)
    assert all(device.assigned[0].allow_older for device in devices)


def test_a_proof_of_a_version_that_never_was_bars_nothing(fleet: Registry) -> None:
    fleet.record_state("board-1", b"state", ("digits", 2_000_000_000), 5)
    fleet.assign(["board-1"], "digits", 1, now_ms=6)


def test_another_model_is_not_older(fleet: Registry) -> None:
    fleet.record_state("board-1", b"state", ("digits", 3), 5)
    fleet.add_version("speech", make_version("speech"))
    fleet.assign(["board-1"], "speech", 1, now_ms=6)


def test_limits_are_kept_and_their_generation_rises(fleet: Registry) -> None:
    assert fleet.set_limits("board-1", 12 << 40).limits_generation == 1
    device = fleet.set_limits("board-1", 0)
    assert (device.memory_budget_bytes, device.limits_generation) == (0, 2)
    for absurd in (-1, 1 << 63):
        with pytest.raises(InvalidInputError):
            fleet.set_limits("board-1", absurd)


def test_limits_of_transfer_are_kept_until_others_are_said(fleet: Registry) -> None:
    assert fleet.get_device("board-1").transfer_limits == NO_LIMITS
    limits = TransferLimits(256 << 10, 500 << 20, MeteredRule.BASE_ONLY, "22:00-06:00")
    device = fleet.set_limits("board-1", 7, limits)
    assert (device.transfer_limits, device.limits_generation) == (limits, 1)
    assert fleet.set_limits("board-1", 8).transfer_limits == limits
    assert fleet.get_device("board-1").transfer_limits == limits
    assert fleet.get_device("board-2").transfer_limits == NO_LIMITS
    for absurd in (TransferLimits(1), TransferLimits(monthly_bytes=-1), TransferLimits(quiet_hours="late")):
        with pytest.raises(InvalidInputError):
            fleet.set_limits("board-1", 9, absurd)
    assert fleet.get_device("board-1").limits_generation == 2
    fleet.forget_device("board-1")
    fleet.enrol("board-1", "another key", "0.1.0", "linux", 7000)
    assert fleet.get_device("board-1").transfer_limits == NO_LIMITS


def test_a_state_is_kept_and_a_repeated_one_is_no_sign_of_life(fleet: Registry) -> None:
    fleet.record_state("board-1", b"\x00state", ("digits", 1), 5000)
    device = fleet.record_state("board-1", b"\x00state", ("digits", 1), 9000)
    assert device is not None
    assert (device.state, device.proven, device.last_seen_unix_ms) == (b"\x00state", ("digits", 1), 5000)
    device = fleet.record_state("board-1", b"nothing runs", None, 9500)
    assert device is not None
    assert (device.proven, device.last_seen_unix_ms) == (None, 9500)
    with pytest.raises(InvalidInputError):
        fleet.record_state("board-1", bytes(256 * 1024 + 1), None, 9600)


def test_a_device_ahead_of_a_restored_registry_is_caught_up_with(fleet: Registry) -> None:
    fleet.assign(["board-1"], "digits", 3, now_ms=1)
    device = fleet.record_state("board-1", b"s", None, 5, seen_generation=7)
    assert device is not None
    assert device.assignment_generation == 8, "above what it has seen, so that it takes the goal"
    device = fleet.record_state("board-1", b"s", None, 6, seen_generation=8)
    assert device is not None
    assert device.assignment_generation == 8
    device = fleet.record_state("board-1", b"s", None, 6, seen_generation=(1 << 64) - 1)
    assert device is not None
    assert device.assignment_generation == 8
    unassigned = fleet.record_state("board-2", b"s", None, 6, seen_generation=7)
    assert unassigned is not None
    assert unassigned.assignment_generation == 7


def test_presence_follows_the_newest_session(fleet: Registry) -> None:
    assert fleet.record_presence("board-1", "first", online=True, now_ms=2000).online  # type: ignore[union-attr]
    fleet.record_presence("board-1", "second", online=True, now_ms=3000)
    device = fleet.record_presence("board-1", "first", online=False, now_ms=4000)
    assert device is not None
    assert (device.online, device.session_id, device.last_seen_unix_ms) == (True, "second", 3000)
    device = fleet.record_presence("board-1", "second", online=False, now_ms=5000)
    assert device is not None
    assert (device.online, device.last_seen_unix_ms) == (False, 3000)


def test_reports_of_strangers_are_not_kept(registry: Registry) -> None:
    assert registry.record_state("stranger", b"s", None, 1) is None
    assert registry.record_presence("stranger", "s", online=True, now_ms=1) is None
    assert registry.record_ledger("stranger", "l", [], [], 1) is False
    assert registry.list_devices() == []


def test_a_forgotten_id_is_free_and_its_generations_go_on(fleet: Registry) -> None:
    fleet.assign(["board-1"], "digits", 3, now_ms=1)
    fleet.set_limits("board-1", 100)
    fleet.record_state("board-1", b"state", ("digits", 3), 5)
    fleet.record_presence("board-1", "session", online=True, now_ms=5)
    fleet.forget_device("board-1")
    assert [device.device_id for device in fleet.list_devices()] == ["board-2"]
    assert fleet.record_state("board-1", b"state", None, 6) is None
    device = fleet.enrol("board-1", "another key", "0.1.0", "linux", 7000)
    assert (device.assigned, device.state, device.proven, device.online) == ((), b"", None, False)
    assert (device.memory_budget_bytes, device.enrolled_unix_ms) == (0, 7000)
    (device,) = fleet.assign(["board-1"], "digits", 1, now_ms=8)
    assert device.assignment_generation == 2, "a device ignores what is below what it has seen"
    assert fleet.set_limits("board-1", 5).limits_generation == 2


def test_assignments_at_once_do_not_lose_a_generation(fleet: Registry) -> None:
    orders = [["board-1", "board-2"], ["board-2", "board-1"], None] * 4
    with ThreadPoolExecutor(6) as pool:
        list(pool.map(lambda ids: fleet.assign(ids, "digits", 3, now_ms=1), orders))
    assert [device.assignment_generation for device in fleet.list_devices()] == [12, 12]
