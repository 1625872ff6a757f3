"""What the agent remembers between two starts. Immutable values; ``state_file`` writes them down."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from common.transfer_limits import NO_LIMITS, TransferLimits


@dataclass(frozen=True, slots=True)
class Release:
    """One immutable version, as the control plane names it.

    Attributes:
        model, version: Its name and number.
        manifest_digest: SHA-256 of the canonical manifest, 64 hex digits; what the version really is.
        manifest_size_bytes: Length of the canonical manifest.
    """

    model: str
    version: int
    manifest_digest: str
    manifest_size_bytes: int

    def __str__(self) -> str:
        return f"{self.model}:{self.version}"


@dataclass(frozen=True, slots=True)
class Goal:
    """What the server wants of one model.

    Attributes:
        generation: Of the assignment that says so; it rises with every change of any model's goal.
        release: The version to run.
        max_level: Highest level to take; 0 for no limit.
        allow_older: Whether going back behind a proven version is wanted.
        issued_unix_ms: When the operator stated it, by the server's clock; 0 where nobody says.
    """

    generation: int
    release: Release
    max_level: int = 0
    allow_older: bool = False
    issued_unix_ms: int = 0

    def restates(self, other: Goal) -> bool:
        """Whether the operator said nothing new: only other models' goals changed since."""
        return self.issued_unix_ms > 0 and replace(self, generation=other.generation) == other


@dataclass(frozen=True, slots=True)
class Installed:
    """A version that passed its self-test here, and how high it may go."""

    release: Release
    max_level: int = 0


@dataclass(frozen=True, slots=True)
class Failure:
    """A goal that cannot be had; it is not tried again until the server states it anew, or another.

    Attributes:
        generation: The goal's.
        release: The version that failed.
        code: A code of ``common.errors``.
        detail: One sentence for the operator.
    """

    generation: int
    release: Release
    code: str
    detail: str


@dataclass(frozen=True, slots=True)
class Attempt:
    """A version is being loaded right now; found at a start, it says that loading ended the process.

    Attributes:
        what: Which version in which way.
        count: How many times in a row, this one included.
    """

    what: str
    count: int


@dataclass(frozen=True, slots=True)
class Slot:
    """One model on this device.

    Attributes:
        model: Its name.
        goal: What is wanted of it; None where it is not wanted any more.
        active: What of it runs, or ran last.
        previous: What ran before, kept on disk to return to.
        failure: Why the goal is not running; None otherwise.
        attempt: Set while a version of it is loaded and proven.
    """

    model: str
    goal: Goal | None = None
    active: Installed | None = None
    previous: Installed | None = None
    failure: Failure | None = None
    attempt: Attempt | None = None

    @property
    def failed(self) -> bool:
        """Whether this very goal failed before."""
        goal, failure = self.goal, self.failure
        return (
            goal is not None
            and failure is not None
            and failure.generation == goal.generation
            and failure.release.manifest_digest == goal.release.manifest_digest
        )

    @property
    def installed(self) -> tuple[Installed, ...]:
        """What of it is on the disk: what runs, and what ran before."""
        return tuple(item for item in (self.active, self.previous) if item is not None)


@dataclass(frozen=True, slots=True)
class Broker:
    """Where enrolment said that the broker is; an empty host stands for the server's."""

    host: str
    port: int
    tls: bool = False


@dataclass(frozen=True, slots=True)
class MonthCount:
    """Bytes of all kinds in a calendar month, UTC.

    Attributes:
        month: Months since the year 0.
        count_bytes: What was counted in it.
    """

    month: int
    count_bytes: int


@dataclass(frozen=True, slots=True)
class Traffic:
    """Bytes by month, and how far the ledger has been counted.

    Attributes:
        ledger_id: The ledger that was looked at last.
        ledger_bytes: Its bytes of all kinds at that look.
        months: The months that the clock showed, the one that it showed last at the end; never empty.
        chunk_bytes: The largest piece in which bytes have come.
    """

    ledger_id: str
    ledger_bytes: int
    months: tuple[MonthCount, ...]
    chunk_bytes: int = 1


@dataclass(frozen=True, slots=True)
class AgentRecord:
    """All of it.

    Attributes:
        device_id: Under which the device enrolled.
        enrolment_key: 32 random bytes in hex; proves that it is the same device.
        broker: The last answer to enrolment.
        seen_generation: The highest generation of any goal so far.
        limit_bytes: Memory budget that the operator set; 0: the device's own setting holds.
        transfer_limits: Limits of transfer that the operator set.
        traffic: Bytes by month; None before the first count.
        slots: The models: those that are wanted, in the server's order, then those that were.
        newest_proven: Model to the newest version that ever passed its self-test here.
    """

    device_id: str
    enrolment_key: str = field(repr=False)
    broker: Broker | None = None
    seen_generation: int = 0
    limit_bytes: int = 0
    slots: tuple[Slot, ...] = ()
    newest_proven: Mapping[str, int] = field(default_factory=dict)
    transfer_limits: TransferLimits = NO_LIMITS
    traffic: Traffic | None = None

    @property
    def goals(self) -> tuple[Goal, ...]:
        """What the server wants, in its order; empty when nothing is assigned."""
        return tuple(slot.goal for slot in self.slots if slot.goal is not None)

    def slot(self, model: str) -> Slot:
        """What is remembered of a model."""
        return next((slot for slot in self.slots if slot.model == model), Slot(model))

    def with_slot(self, changed: Slot) -> tuple[Slot, ...]:
        """The slots, one of them changed, or new and last."""
        known = any(slot.model == changed.model for slot in self.slots)
        slots = tuple(changed if slot.model == changed.model else slot for slot in self.slots)
        return slots if known else (*slots, changed)
