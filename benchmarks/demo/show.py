"""The whole demo, scene by scene."""

from __future__ import annotations

import os
from typing import Any

from benchmarks.demo import folders, report
from benchmarks.demo.bars import judge
from benchmarks.demo.boards import LARGEST, LEVELS, memory_needed
from benchmarks.demo.display import Display
from benchmarks.demo.failure import DemoFailure
from benchmarks.demo.fleet import Fleet
from benchmarks.demo.inference import MODEL
from benchmarks.demo.operating import Operator
from benchmarks.demo.processes import Children
from benchmarks.demo.scenes.delivery import deliver
from benchmarks.demo.scenes.paging import page
from benchmarks.demo.scenes.preparation import Trained, budget_for, start_boards, start_server, train_versions
from benchmarks.demo.scenes.refusal import refuse
from benchmarks.demo.scenes.stage import Stage, push
from benchmarks.demo.scenes.update import update
from benchmarks.demo.weights import CHANGED_LAYERS
from server.client.fleet import FleetClient


def play(display: Display) -> bool:
    """Whether everything held. Afterwards the report is written and no process of the demo runs.

    Raises:
        DemoFailure: A scene could not be played to its end.
    """
    folders.start_clean()
    trained = train_versions(display)
    with Children(folders.LOGS) as children:
        measured = _play_with(children, trained, display)
    leftovers = children.leftovers()
    if leftovers:
        raise DemoFailure(f"Processes were left behind: {leftovers}")
    measured |= {"train_seconds": trained.seconds, "total_seconds": display.seconds, "cpus": os.cpu_count()}
    return _finish(measured, display)


def _play_with(children: Children, trained: Trained, display: Display) -> dict[str, Any]:
    display.scene("A server starts, and an operator pushes the model at 4, 6 and 8 bits")
    server = start_server(children)
    operator = Operator(server, display, folders.LOGS / "operator.log")
    with FleetClient(server) as client:
        first = push(operator, client, 1, display)
        display.scene("Three boards start, each with its own memory")
        boards = start_boards(first.manifest, server, children, client, display)
        fleet = Fleet(boards, client, children, display)
        stage = Stage(fleet, operator, trained, display)
        delivered = deliver(stage)
        paged = page(
            stage,
            low_budget_bytes=memory_needed(first.manifest, first.manifest.levels[0]),
            full_budget_bytes=budget_for(first.manifest, LARGEST),
            full=delivered.measured["8"],
        )
        updated = update(stage, " and ".join(CHANGED_LAYERS))
        refused = refuse(stage)
        _show_savings(operator, display)
        moved = client.get_savings(MODEL).fleet
    return {
        **report.sizes_part(first.version.sizes),
        **report.delivery_part(delivered, trained.accuracy(1), LARGEST),
        **report.paging_part(paged),
        **report.update_part(updated, trained.accuracy(2)),
        **report.refusal_part(refused, trained.accuracy(2)),
        **report.moved_part(moved),
    }


def _show_savings(operator: Operator, display: Display) -> None:
    display.scene("What did nesting save?")
    operator.show("savings", "--plot", str(folders.PICTURE))


def _finish(measured: dict[str, Any], display: Display) -> bool:
    bars = judge(measured, len(LEVELS))
    measured["bars"] = [
        {"claim": bar.claim, "measured": bar.measured, "limit": bar.limit, "holds": bar.holds} for bar in bars
    ]
    report.write(folders.REPORT, measured)
    display.scene("Does it hold?")
    display.bars(bars)
    display.say(f"Everything measured: {folders.REPORT}   picture: {folders.PICTURE}   logs: {folders.LOGS}")
    return all(bar.holds for bar in bars)
