"""A call that runs in another process: what travels there, and what comes back."""

from __future__ import annotations

import pickle
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from importlib import metadata
from typing import Any

from common.errors import ConfigError


@dataclass(frozen=True, slots=True)
class Reply:
    """What came of a call.

    Attributes:
        software: Of the process that did it.
        failed: Whether the call raised.
        content: The result or the error, pickled.
    """

    software: tuple[str, ...]
    failed: bool
    content: bytes


def pickled_call(task: Callable[[Any], Any], item: Any) -> bytes:
    """What ``remote_call`` takes."""
    return pickle.dumps((task, item), protocol=pickle.HIGHEST_PROTOCOL)


def remote_call(call: bytes) -> Reply:
    """Do a pickled call. Its error is part of the reply, so that whatever this raises is not the task's."""
    task, item = pickle.loads(call)  # noqa: S301 - from the server that this worker serves
    try:
        content, failed = task(item), False
    except Exception as error:  # noqa: BLE001 - the caller raises it
        error.add_note("".join(traceback.format_exception(error)))
        content, failed = error, True
    return Reply(software(), failed, pickle.dumps(content, protocol=pickle.HIGHEST_PROTOCOL))


def result_of(reply: Reply) -> Any:
    """What the task returned.

    Raises:
        ConfigError: The other process has other software than this one, so that its bytes might differ.
        Exception: What the task raised.
    """
    if reply.software != software():
        raise ConfigError(
            f"A worker runs {', '.join(reply.software)}; this server {', '.join(software())}.",
            advice="Install the same releases on the server, the Dask scheduler and all its workers.",
        )
    content = pickle.loads(reply.content)  # noqa: S301 - the cluster is trusted as this process is
    if reply.failed:
        raise content
    return content


def software() -> tuple[str, ...]:
    """The releases that the bytes of a blob depend on."""
    return tuple(f"{name} {metadata.version(name)}" for name in ("nestfleet", "numpy", "zstandard"))
