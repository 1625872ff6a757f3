"""Following an assignment: settled when every device runs it or has refused it."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from nestfleet.v1 import catalog_pb2, control_pb2, fleet_pb2

from common.errors import LinkError
from server.cli.rollout import Outcome, follow, outcome

TWO = catalog_pb2.VersionRef(model="net", version=2)
SPEECH = catalog_pb2.VersionRef(model="speech", version=1)
OTHER = catalog_pb2.VersionRef(model="other", version=1)
ONE = catalog_pb2.VersionRef(model="net", version=1)


def device(
    device_id: str = "board",
    *,
    phase: control_pb2.Phase.ValueType = control_pb2.PHASE_IDLE,
    proven: catalog_pb2.VersionRef = TWO,
    answered: int = 5,
) -> fleet_pb2.Device:
    state = control_pb2.DeviceState(phase=phase, proven=proven, level=4, assignment_generation=answered)
    return fleet_pb2.Device(
        device_id=device_id, online=True, assigned=TWO, assignment_generation=5, state=state
    )


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        (device(), Outcome.RUNS),
        (device(answered=4), Outcome.PENDING),
        (device(proven=ONE), Outcome.PENDING),
        (device(phase=control_pb2.PHASE_FETCHING), Outcome.PENDING),
        (device(phase=control_pb2.PHASE_WAITING, proven=ONE), Outcome.PENDING),
        (device(phase=control_pb2.PHASE_FAILED, proven=ONE), Outcome.REFUSED),
        (device(phase=control_pb2.PHASE_FAILED, proven=ONE, answered=4), Outcome.PENDING),
    ],
)
def test_an_assignment_stands_as_the_newest_report_says(found: fleet_pb2.Device, expected: Outcome) -> None:
    assert outcome(found) is expected


def several(*proven: catalog_pb2.VersionRef) -> fleet_pb2.Device:
    """A device that shall run ``net:2`` and ``speech:1``."""
    found = device(proven=proven[0])
    found.state.models.extend(control_pb2.ModelState(model=ref.model, proven=ref) for ref in proven)
    found.assigned_versions.extend(fleet_pb2.AssignedVersion(ref=ref) for ref in (TWO, SPEECH))
    return found


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        (several(TWO, SPEECH), Outcome.RUNS),
        (several(TWO), Outcome.PENDING),
        (several(ONE, SPEECH), Outcome.PENDING),
        (several(TWO, SPEECH, OTHER), Outcome.PENDING),
    ],
)
def test_of_several_models_each_has_to_run_and_no_other(found: fleet_pb2.Device, expected: Outcome) -> None:
    assert outcome(found) is expected


def test_several_models_on_an_agent_that_runs_one_are_refused_and_it_is_said_why(
    capsys: pytest.CaptureFixture[str],
) -> None:
    older = device(phase=control_pb2.PHASE_IDLE)
    older.assigned_versions.extend(fleet_pb2.AssignedVersion(ref=ref) for ref in (TWO, SPEECH))
    assert outcome(older) is Outcome.REFUSED
    follow(lambda: [older], ["board"], timeout_seconds=10)
    assert "runs one model at a time" in capsys.readouterr().err


def test_devices_are_followed_through_an_absent_server_until_all_are_settled(
    capsys: pytest.CaptureFixture[str],
) -> None:
    refusal = device("b", phase=control_pb2.PHASE_FAILED, proven=ONE)
    refusal.state.fault.detail = "label agreement 0.1"
    looks = iter([[], [device("a", answered=4), refusal], [device("a"), refusal, device("c")]])

    def ask() -> Sequence[fleet_pb2.Device]:
        look = next(looks)
        if not look:
            raise LinkError("away")
        return look

    settled = follow(ask, ["a", "b"], timeout_seconds=10)
    assert [item.device_id for item in settled] == ["a", "b"]
    told = capsys.readouterr().err
    assert "a: runs net:2 at 4 bits" in told
    assert "b: refused: label agreement 0.1" in told


def test_patience_ends_with_the_names_of_those_that_are_not_settled() -> None:
    with pytest.raises(LinkError, match="not settled: slow"):
        follow(lambda: [device("slow", answered=1), device("fast")], ["slow", "fast"], timeout_seconds=0.5)
