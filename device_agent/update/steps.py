"""The steps that the update state machine knows."""

from __future__ import annotations

from dataclasses import dataclass

from common.manifest import Manifest
from device_agent.store.records import Goal, Installed, Release
from device_agent.update.allowance import TransferHold


@dataclass(frozen=True, slots=True)
class Hold:
    """Nothing to do until something changes."""


@dataclass(frozen=True, slots=True)
class Refuse:
    """The goal is older than what has been proven, and going back is not wanted."""

    goal: Goal
    newest: int


@dataclass(frozen=True, slots=True)
class FetchManifest:
    """The goal's manifest is not here yet."""

    release: Release


@dataclass(frozen=True, slots=True)
class FetchBlobs:
    """Blobs are missing.

    Attributes:
        release: The version that they belong to.
        manifest: Its manifest.
        stage: The level of each block that is wanted next.
        target: The level of each block that is wanted in the end.
        update: Whether a version that does not run yet is being fetched.
    """

    release: Release
    manifest: Manifest
    stage: tuple[int, ...]
    target: tuple[int, ...]
    update: bool


@dataclass(frozen=True, slots=True)
class Withheld:
    """Blobs are missing, and a limit keeps them from coming."""

    hold: TransferHold


@dataclass(frozen=True, slots=True)
class Activate:
    """All is here to load, prove and switch to a version.

    Attributes:
        installed: What will be running.
        manifest: Its manifest.
        levels: To load and prove it at, beside what runs.
        room: Models that must go down first, and to which levels.
    """

    installed: Installed
    manifest: Manifest
    levels: tuple[int, ...]
    room: tuple[tuple[str, tuple[int, ...]], ...] = ()


@dataclass(frozen=True, slots=True)
class Page:
    """The blocks of a running version go to other levels, from memory and disk alone."""

    model: str
    levels: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Share:
    """A running version may take another part of the budget."""

    model: str
    memory_bytes: int


@dataclass(frozen=True, slots=True)
class Drop:
    """A model that is not wanted any more answers no longer."""

    model: str


Step = Hold | Refuse | FetchManifest | FetchBlobs | Withheld | Activate | Page | Share | Drop


def model_of(step: Step) -> str:
    """The model that a step is about; empty for none."""
    match step:
        case FetchManifest() | FetchBlobs():
            return step.release.model
        case Activate():
            return step.installed.release.model
        case Refuse():
            return step.goal.release.model
        case Page() | Share() | Drop():
            return step.model
    return ""
