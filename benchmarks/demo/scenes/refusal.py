"""Version 3 is spoilt. Every board notices before it switches, stays on version 2 and says why."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from benchmarks.demo.scenes.stage import MIN_AGREEMENT, Measured, Stage, push
from benchmarks.demo.views import View
from common.errors import ErrorCode

_SPOILT = 3


@dataclass(frozen=True, slots=True)
class Refused:
    """Who refused, and why.

    Attributes:
        reasons: Device id to what the device reported.
        measured: Level to how well version 2 answers over HTTP afterwards.
    """

    reasons: Mapping[str, str]
    measured: Mapping[str, Measured]


def refuse(stage: Stage) -> Refused:
    """Push the spoilt version, roll it out, and see it refused."""
    display = stage.display
    display.scene("Version 3 is a mistake: it was fine-tuned with shuffled labels")
    display.say(
        "The server cannot know that. But every version brings labelled images with it, and a board switches"
    )
    display.say(f"only when it gets at least {MIN_AGREEMENT:.0%} of them right.")
    push(stage.operator, stage.fleet.client, _SPOILT, display)
    stage.assign(_SPOILT)
    views = stage.fleet.wait(
        "every board refuses version 3 and stays on version 2",
        lambda views: all(_has_refused(view) for view in views.values()),
    )
    reasons = {name: view.state.fault.detail for name, view in views.items()}
    for name, reason in reasons.items():
        display.result(f"{name} stays on version 2 and says: {reason}")
    return Refused(reasons, stage.measure(2))


def _has_refused(view: View) -> bool:
    fault = view.state.fault
    return (
        fault.code == ErrorCode.SELF_TEST_FAILED
        and fault.ref.version == _SPOILT
        and view.state.proven.version == _SPOILT - 1
    )
