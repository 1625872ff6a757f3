"""Which layers were found faster on integer kernels: a file, so that a restart measures nothing."""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from common.digest import is_digest
from common.files import write_atomically

FILE_NAME: Final = "kernel-choices.json"
MOST_ENTRIES: Final = 64
_MOST_BYTES: Final = 4 * 1024 * 1024
_log = logging.getLogger(__name__)

Entries = dict[str, dict[str, bool]]


class KernelChoices:
    """``Choices`` of ``device_agent.inference.integer.rules``. Blocking; safe in any thread.

    Nothing here is worth failing for: a file that makes no sense counts as empty, and what the disk does not
    take is measured again after the next start.

    Args:
        root: The store's folder.
    """

    def __init__(self, root: Path) -> None:
        self._file = root / FILE_NAME
        self._entries: Entries | None = None
        self._lock = threading.Lock()

    def get(self, key: str) -> Mapping[str, bool] | None:
        """Weight to whether kernels are faster; None where nothing is known."""
        with self._lock:
            return self._known().get(key)

    def put(self, key: str, faster: Mapping[str, bool]) -> None:
        """Remember it; where there are many, the one that was put first is forgotten."""
        with self._lock:
            entries = self._known()
            entries.pop(key, None)
            entries[key] = dict(faster)
            while len(entries) > MOST_ENTRIES:
                del entries[next(iter(entries))]
            try:
                write_atomically(self._file, json.dumps(entries).encode())
            except OSError as error:
                _log.warning("Which kernels are faster is not remembered: %s", error)

    def _known(self) -> Entries:
        if self._entries is None:
            self._entries = self._read()
        return self._entries

    def _read(self) -> Entries:
        try:
            with self._file.open("rb") as file:
                data = file.read(_MOST_BYTES + 1)
            return _checked(data)
        except FileNotFoundError:
            return {}
        except (OSError, ValueError, RecursionError) as error:
            _log.warning("%s does not count, kernels are measured again: %s", self._file, error)
            return {}


def _checked(data: bytes) -> Entries:
    """The entries in a file's bytes.

    Raises:
        ValueError: They are no such entries.
    """
    if len(data) > _MOST_BYTES:
        raise ValueError(f"it has more than {_MOST_BYTES} bytes")
    tree = json.loads(data)
    if not isinstance(tree, dict) or len(tree) > MOST_ENTRIES:
        raise ValueError(f"it is no object of at most {MOST_ENTRIES} entries")
    for key, faster in tree.items():
        if not is_digest(key) or not isinstance(faster, dict):
            raise ValueError(f"{key!r:.80} is no entry")
        if not all(isinstance(value, bool) for value in faster.values()):
            raise ValueError(f"{key} holds something else than yes and no")
    return tree
