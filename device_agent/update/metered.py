"""Whether the link is metered: a setting says so, or a file that the board's network scripts write."""

from __future__ import annotations

import logging
from enum import StrEnum
from pathlib import Path
from typing import Final

from device_agent.update.watched_file import WatchedFile

_ANSWERS: Final = {"yes": True, "no": False}
_log = logging.getLogger(__name__)


class Metered(StrEnum):
    """What the setting says; AUTO leaves it to the file."""

    AUTO = "auto"
    YES = "yes"
    NO = "no"


class MeteredLink:
    """The newest answer to whether the link is metered.

    A file that is not there says no. One that says neither ``yes`` nor ``no``, as while somebody writes it,
    changes nothing, and counts as yes before the first answer: bytes that cost money do not come back.

    Args:
        setting: AUTO leaves it to the file.
        file: None where nobody writes one.
    """

    def __init__(self, setting: Metered, file: Path | None) -> None:
        self._setting = setting
        self._file = WatchedFile(file) if file is not None and setting is Metered.AUTO else None
        self._answer: bool | None = None

    def look(self) -> bool:
        """Whether the link is metered now."""
        if self._file is None:
            return self._setting is Metered.YES
        try:
            text = self._file.changed()
        except FileNotFoundError:
            self._answer = False
        except OSError as error:
            _log.warning("Whether the link is metered cannot be read from %s: %s", self._file.path, error)
        else:
            self._take(text)
        return self._answer is not False

    def read_again(self) -> None:
        """The file counts as it is now, whether it looks changed or not."""
        if self._file is not None:
            self._file.forget()

    def _take(self, text: str | None) -> None:
        if text is None:
            return
        answer = _ANSWERS.get(text.lower())
        if answer is not None:
            self._answer = answer
        elif self._file is not None:
            _log.warning("%s says neither yes nor no: %r", self._file.path, text[:40])
