"""What answers requests, whatever transport brought them: finds the model, queues, counts."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

from common.errors import CapacityError, InvalidInputError, LinkError, NotFoundError
from device_agent.inference.answering import AnsweringModel
from device_agent.serving.allowance import Allowance
from device_agent.serving.metrics import Metrics, StateCollector
from device_agent.serving.off_loop import OffLoop
from device_agent.serving.protocol.messages import InferRequest, Reply
from device_agent.serving.queueing.batch import count_rows
from device_agent.serving.queueing.lanes import QueueRules
from device_agent.serving.queueing.running import Run
from device_agent.serving.queueing.scheduler import Scheduler
from device_agent.serving.refusals import GoneError
from device_agent.serving.tally import Tally

Models: TypeAlias = "Callable[[], Mapping[str, AnsweringModel]]"
REQUEST_MEMORY_BYTES: Final = 128 * 1024 * 1024
_TALLIES: Final = 64
_OUTCOMES: Final[tuple[tuple[type[BaseException], str], ...]] = (
    (InvalidInputError, "invalid"),
    (NotFoundError, "unknown"),
    (GoneError, "cancelled"),
    (CapacityError, "refused"),
    (LinkError, "refused"),
    (asyncio.CancelledError, "cancelled"),
)


@dataclass(frozen=True, slots=True)
class Asked:
    """A request for inference that has begun.

    Attributes:
        model: Whom it asks.
        protocol: What brought it.
        began_seconds: When it came, on a clock that never runs backwards.
    """

    model: AnsweringModel
    protocol: str
    began_seconds: float


class Service:
    """One for all transports; belongs to one event loop.

    Args:
        models: Name to the model that answers at the moment; called for each request.
        status: The agent's state, as JSON can carry it.
        rules: Of the queue.
        request_memory_bytes: What requests may hold, all together.
        on_answered: Told the name of a model that has answered a request.

    Attributes:
        allowance: Of the requests' memory.
        off_loop: Where large tensors are read and written.
        metrics: For Prometheus.
        status: As given.
    """

    def __init__(
        self,
        models: Models,
        status: Callable[[], dict[str, Any]],
        rules: QueueRules | None = None,
        *,
        request_memory_bytes: int = REQUEST_MEMORY_BYTES,
        on_answered: Callable[[str], None] = lambda _: None,
    ) -> None:
        self._models = models
        self._scheduler = Scheduler(rules or QueueRules(), self._ran)
        self._tallies: dict[tuple[str, int], Tally] = {}
        self._on_answered = on_answered
        self.status = status
        self.allowance = Allowance(request_memory_bytes)
        self.off_loop = OffLoop()
        self.metrics = Metrics()
        self.metrics.registry.register(
            StateCollector(models, self._scheduler.length, lambda: self.allowance.held_bytes, status)
        )

    @property
    def ready(self) -> bool:
        """Whether requests are answered."""
        return bool(self._models()) and not self._scheduler.closed

    def models(self) -> list[AnsweringModel]:
        """Those that answer at the moment."""
        return list(self._models().values())

    def find(self, name: str, version: str = "") -> AnsweringModel:
        """The model that answers to a name.

        Args:
            name: As requests say it.
            version: Its number; empty for whichever answers.

        Raises:
            NotFoundError: None does, or another version.
        """
        model = self._models().get(name)
        if model is None:
            raise NotFoundError(f"No model {name[:80]!r} answers here.")
        if version not in {"", str(model.version)}:
            raise NotFoundError(
                f"Model {name!r} answers here as version {model.version}, not {version[:20]}."
            )
        return model

    def statistics(self, models: list[AnsweringModel]) -> dict[str, Any]:
        """Counts of some models, in Triton's form."""
        return {"model_stats": [self._tally(model).tree(model.name, model.version) for model in models]}

    @contextmanager
    def asked(self, name: str, version: str, protocol: str) -> Iterator[Asked]:
        """A request for inference, from its first byte to its answer; counted by what becomes of it.

        Raises:
            NotFoundError: As ``find``.
        """
        began = time.monotonic()
        label, model, outcome = "", None, "ok"
        try:
            model = self.find(name, version)
            label = model.name
            yield Asked(model, protocol, began)
        except BaseException as error:
            outcome = next((text for kind, text in _OUTCOMES if isinstance(error, kind)), "failed")
            if model is not None:
                self._tally(model).failed(time.monotonic() - began)
            raise
        finally:
            self.metrics.requested(label, protocol, outcome)

    async def infer(self, asked: Asked, request: InferRequest) -> Reply:
        """The model's answer.

        Raises:
            InvalidInputError: An output is not the model's, or the inputs are not.
            BusyError: Too many requests wait, or this one waited too long.
            ClosingError: The agent is shutting down.
        """
        model = asked.model
        known = [spec.name for spec in model.outputs]
        unknown = [name for name in request.outputs if name not in known]
        if unknown:
            raise InvalidInputError(f"There is no output {unknown[0]!r:.80}; the model gives {known}.")
        queued = await self._scheduler.infer(model, request.inputs)
        outputs = queued.answer.outputs
        wanted = request.outputs or outputs
        seconds = time.monotonic() - asked.began_seconds
        self.metrics.answered(
            model.name, asked.protocol, seconds=seconds, waited_seconds=queued.waited_seconds
        )
        self._tally(model).answered(
            queued, rows=count_rows(request.inputs), seconds=seconds, unix_ms=time.time_ns() // 1_000_000
        )
        self._on_answered(model.name)
        return Reply(
            model=model.name,
            version=model.version,
            request_id=request.request_id,
            outputs={name: outputs[name] for name in wanted},
            level=queued.answer.level,
        )

    def close(self) -> None:
        """Refuse what waits and what comes; what runs comes to its end."""
        self._scheduler.close()

    async def until_idle(self, seconds: float) -> None:
        """Nothing runs any more, or so much time has passed; after ``close``."""
        await self._scheduler.until_idle(seconds)

    def _ran(self, model: AnsweringModel, runs: list[Run]) -> None:
        self.metrics.ran(model.name, runs)
        self._tally(model).ran(runs)

    def _tally(self, model: AnsweringModel) -> Tally:
        """Counts of a version; where many have come and gone, those that are gone are forgotten."""
        key = model.name, model.version
        if key not in self._tallies and len(self._tallies) >= _TALLIES:
            present = {(other.name, other.version) for other in self.models()}
            self._tallies = {key: tally for key, tally in self._tallies.items() if key in present}
        return self._tallies.setdefault(key, Tally())
