"""The agent, whole, on whatever ports it is given: what `app` runs on a board, and tests run in memory."""

from __future__ import annotations

import asyncio
import logging
import sys
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any

from common.addresses import BrokerAddress, parse_broker_url, parse_host_port
from common.clock import Clock
from common.errors import ConflictError
from common.transfer_limits import TransferLimits
from device_agent.inbox import Inbox
from device_agent.link.backoff import Backoff
from device_agent.link.control import ControlLink, Listener
from device_agent.link.enrolment import Enrolment
from device_agent.link.server import ServerLink
from device_agent.link.socket_meter import NoSockets, SocketMeter
from device_agent.residency.board_limits import BoardLimits
from device_agent.residency.configured import residency_rules
from device_agent.sensors.guarded import Sensors
from device_agent.sensors.memory import process_bytes
from device_agent.settings import Settings
from device_agent.store.records import Broker, Goal
from device_agent.store.store import Store
from device_agent.update.budget import Budget
from device_agent.update.delta_fetcher import DeltaFetcher
from device_agent.update.demand import Demand
from device_agent.update.demand_watch import DemandWatch
from device_agent.update.fetcher import Fetcher
from device_agent.update.gate import TransferGate
from device_agent.update.keeper import Keeper
from device_agent.update.metered import MeteredLink
from device_agent.update.metering import Metering
from device_agent.update.pacing import Pacer
from device_agent.update.progress import Phase, Progress
from device_agent.update.reporter import Reporter
from device_agent.update.served import Load
from device_agent.update.startup import Startup
from device_agent.update.status import Status, take_status, to_tree
from device_agent.update.updater import Updater

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Outside:
    """The ports.

    Attributes:
        server: Bytes and enrolment.
        control: Goals and reports.
        load: Brings a version into memory.
        sensors: What the board says.
        clock: Time.
        backoff: Makes the waits between two tries.
        started_unix_ms: When the process began.
        session_id: Random per process.
        meter: Counts what crosses the sockets.
        warm_up: Brings what runs versions into memory; called once there is something to run.
    """

    server: ServerLink
    control: ControlLink
    load: Load
    sensors: Sensors
    clock: Clock
    backoff: Callable[[], Backoff]
    started_unix_ms: int
    session_id: str
    meter: SocketMeter = field(default_factory=NoSockets)
    warm_up: Callable[[], object] = lambda: None


class Agent:
    """Everything between the ports.

    Args:
        settings: What somebody set.
        store: The device's disk.
        outside: The ports.

    Attributes:
        keeper: What answers.
        inference_url: Where the device answers, once that is known.
    """

    def __init__(self, settings: Settings, store: Store, outside: Outside) -> None:
        self._settings = settings
        self._store = store
        self._outside = outside
        self._refused: ConflictError | None = None
        self._over = asyncio.Event()
        self._first_inference_seconds = 0.0
        self._start_seconds = 0.0
        self._warm = False
        self.inference_url = ""
        self._metering = Metering(outside.meter, store, outside.clock, at_rest=self._at_rest)
        self._reporter = Reporter(
            outside.control,
            store,
            outside.clock,
            take=self.status,
            heartbeat_seconds=settings.heartbeat_seconds,
            on_published=self._metering.published,
        )
        self._progress = Progress(self._reporter.changed)
        self.keeper = Keeper(outside.load, store.blobs.read, self._switched)
        self._budget = self._make_budget()
        self._demand = Demand()
        self._demand_watch = DemandWatch(
            self._demand,
            outside.clock,
            present=lambda: self.keeper.running,
            on_change=self.look_again,
        )
        self._gate = self._make_gate()
        self._pacer = Pacer(self._gate.limits.bandwidth_bytes_per_second, check=self._gate.received)
        self._updater = self._make_updater()
        self._enrolment = Enrolment(
            outside.server,
            store.state,
            outside.backoff(),
            on_enrolled=self._enrolled,
            on_refused=self._on_refused,
        )

    async def run(self) -> None:
        """What is on the disk answers, then the agent follows its goal, until cancelled.

        Raises:
            ConflictError: Another device has this id, and there is nothing here to go on with.
        """
        if any(slot.goal or slot.active for slot in self._store.state.record.slots):
            self._warm_up()
        await Startup(self._store, self.keeper, self._budget, self._progress).run()
        inbox = Inbox(self._store.state.record.device_id, on_goals=self._take_goals, on_limits=self._limit)
        listener = Listener(inbox.take, self._where, self._enrolment.ask)
        works: list[Coroutine[Any, Any, None]] = [
            self._updater.run(),
            self._reporter.run(),
            self._metering.run(),
            self._budget.watch(),
            self._demand_watch.watch(),
            self._gate.watch(),
            self._outside.control.run(listener),
            self._enrolment.run(),
            self._until_over(),
        ]
        tasks = [asyncio.create_task(work) for work in works]
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await self._metering.look()
            await self._gate.settle()

    def answers_at(self, inference_url: str) -> None:
        """The endpoint answers from now on."""
        self.inference_url = inference_url
        self._start_seconds = self._since_start_seconds()

    def answered(self, model: str) -> None:
        """A request to a model has its answer: memory follows what is asked for."""
        self._demand_watch.answered(model)

    @property
    def settled(self) -> bool:
        """Whether every step is taken that can be taken now; the phase tells of no change of levels."""
        return self._updater.settled

    def look_again(self) -> None:
        """Something outside may have changed: try at once what waits for a later try."""
        self._updater.wake()

    def read_again(self) -> None:
        """The files that settings name count as they are now, whether they look changed or not."""
        self._budget.read_again()
        self._gate.read_again()

    def status(self) -> Status:
        """The state at this moment. Looks at the disk."""
        return take_status(
            self._store,
            self.keeper,
            self._progress,
            self._gate,
            session_id=self._outside.session_id,
            budget_bytes=self._budget.bytes,
            inference_url=self.inference_url,
            first_inference_seconds=self._first_inference_seconds,
        )

    def status_tree(self) -> dict[str, Any]:
        """The state as JSON can carry it."""
        connected = self._outside.control.connected
        tree = to_tree(self.status(), self._store.ledger.totals(), broker_connected=connected)
        return {
            **tree,
            "start_seconds": self._start_seconds,
            "runtime_loaded": "torch" in sys.modules,
            "rss_bytes": process_bytes(),
            "overhead_measured": self._metering.measured,
            "whole_instead_of_delta": self._deltas.fallbacks,
            "board": self._budget.tree(),
            "demand": dict(self._demand.shares),
        }

    def _make_budget(self) -> Budget:
        settings = self._settings
        budget = Budget(
            fixed_bytes=settings.memory_budget_bytes,
            board=BoardLimits(
                self._outside.sensors,
                self._outside.clock,
                residency_rules(settings),
                loaded=lambda: list(self.keeper.served.values()),
            ),
            file=settings.budget_file,
            on_change=self._budget_changed,
        )
        budget.limit(self._store.state.record.limit_bytes)
        return budget

    def _make_gate(self) -> TransferGate:
        settings = self._settings
        own = TransferLimits(
            bandwidth_bytes_per_second=settings.download_limit_bytes_per_second,
            monthly_bytes=settings.monthly_budget_bytes,
            metered=settings.metered_rule,
            quiet_hours=settings.quiet_hours,
        )
        return TransferGate(
            self._store,
            self._outside.clock,
            own=own,
            metered=MeteredLink(settings.metered, settings.metered_file),
            on_change=self._gate_changed,
        )

    def _make_updater(self) -> Updater:
        settings = self._settings
        fetcher = Fetcher(
            self._outside.server,
            self._store,
            pacer=self._pacer,
            disk_reserve_bytes=settings.disk_reserve_bytes,
            on_progress=self._received,
        )
        self._deltas = DeltaFetcher(
            fetcher,
            self._outside.server,
            self._store,
            on_progress=self._reporter.changed,
            budget=self._gate,
        )
        return Updater(
            store=self._store,
            keeper=self.keeper,
            fetcher=self._deltas,
            budget=self._budget,
            demand=self._demand,
            gate=self._gate,
            progress=self._progress,
            backoff=self._outside.backoff(),
            on_change=self._reporter.changed,
        )

    def _where(self) -> BrokerAddress | None:
        """The broker, for a device that is enrolled; the settings' word counts more than the server's."""
        broker = self._store.state.record.broker
        if broker is None or self._refused is not None:
            return None
        if self._settings.broker_url:
            return parse_broker_url(self._settings.broker_url)
        host = broker.host or parse_host_port(self._settings.server)[0]
        return BrokerAddress(host, broker.port, broker.tls)

    def _at_rest(self) -> bool:
        return self._progress.phase is not Phase.FETCHING

    def _received(self) -> None:
        self._metering.glance()
        self._reporter.changed()

    def _since_start_seconds(self) -> float:
        since_ms = self._outside.clock.unix_ms() - self._outside.started_unix_ms
        return max(since_ms, 1) / 1000

    def _take_goals(self, goals: tuple[Goal, ...]) -> None:
        if goals:
            self._warm_up()
        self._updater.take_goals(goals)

    def _warm_up(self) -> None:
        """Nothing for an agent that has nothing to run: the runtime takes more memory than all else."""
        if not self._warm:
            self._warm = True
            self._outside.warm_up()

    def _switched(self) -> None:
        if not self._first_inference_seconds:
            self._first_inference_seconds = self._since_start_seconds()
        self._reporter.changed()

    def _budget_changed(self) -> None:
        # The first reading comes before there is anybody to tell.
        if hasattr(self, "_updater"):
            self._updater.wake()

    def _limit(self, memory_bytes: int, transfer: TransferLimits) -> None:
        self._budget.limit(memory_bytes)
        self._gate.limit(transfer)

    def _gate_changed(self) -> None:
        self._pacer.limit(self._gate.limits.bandwidth_bytes_per_second)
        self._updater.wake()
        self._reporter.changed()

    def _enrolled(self, broker: Broker) -> None:
        _log.info("Enrolled as %s; the broker has port %d", self._store.state.record.device_id, broker.port)
        self._refused = None
        self._outside.control.moved()
        self._updater.wake()

    def _on_refused(self, error: ConflictError) -> None:
        _log.error("%s", error)
        self._refused = error
        if not self.keeper.models():
            self._over.set()

    async def _until_over(self) -> None:
        await self._over.wait()
        if self._refused is not None:
            raise self._refused
