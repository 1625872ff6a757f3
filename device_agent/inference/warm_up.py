"""Brings the runtime's libraries into memory before the first version needs them."""

from __future__ import annotations

import importlib
import logging
import threading
from typing import Final

_NEEDED: Final = "device_agent.inference.runtime"
_log = logging.getLogger(__name__)


def warm_up() -> threading.Thread:
    """Import what runs versions in a thread of its own: about a second that no first inference waits for.

    Whoever needs it sooner waits for this import and does not begin another. What fails here fails there
    too, with a reason.
    """
    thread = threading.Thread(target=_import, name="warm-up")
    thread.start()
    return thread


def _import() -> None:
    try:
        importlib.import_module(_NEEDED)
    except Exception as error:  # noqa: BLE001  # the version that needs it reports it
        _log.warning("The runtime cannot be loaded: %r", error)
