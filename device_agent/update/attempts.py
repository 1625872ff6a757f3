"""Loading a version can end the process, by lack of memory or in native code. A mark on disk remembers."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import AsyncGenerator
from typing import Final

from common.errors import CapacityError, Error
from device_agent.store.records import Attempt, Release
from device_agent.store.state_file import StateFile

MAX_DEATHS: Final = 3
_log = logging.getLogger(__name__)


@contextlib.asynccontextmanager
async def attempt(state: StateFile, release: Release, how: str) -> AsyncGenerator[None, None]:
    """The mark is on disk while the body runs, and gone when it ends in any way but the process's end.

    Args:
        state: Where the mark is kept.
        release: What is loaded.
        how: What else tells this attempt from another, e.g. "update".

    Raises:
        Error: The same attempt ended the process three times in a row; the body does not run.
    """
    what = f"{release.manifest_digest} {how}"
    last = state.record.slot(release.model).attempt
    deaths = last.count if last is not None and last.what == what else 0
    if deaths >= MAX_DEATHS:
        raise Error(
            f"Loading {release} ended the agent {deaths} times.",
            advice="The memory may not suffice; lower the budget, or push a smaller version.",
        )
    await _mark(state, release.model, Attempt(what, deaths + 1))
    try:
        yield
    finally:
        await _mark(state, release.model, None)


async def _mark(state: StateFile, model: str, mark: Attempt | None) -> None:
    """The mark is a precaution: a full disk must not keep a sound version from running."""
    try:
        await state.change_slot(model, attempt=mark)
    except CapacityError as error:
        _log.warning("Loading goes on without its mark: %s", error)
