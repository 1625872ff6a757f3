"""The operator's side: ``nestfleet`` commands, run as anybody would type them, and shown as such."""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from benchmarks.demo.display import Display
from benchmarks.demo.failure import DemoFailure
from benchmarks.demo.processes import neutral_environment

_POLL_SECONDS: Final = 0.2
_COMMAND_SECONDS: Final = 120.0


class Operator:
    """Runs commands against one server.

    Args:
        server: ``HOST:PORT``.
        display: Where commands are shown.
        log: Where what they say besides their result goes.
    """

    def __init__(self, server: str, display: Display, log: Path) -> None:
        self._environment = {**neutral_environment(), "NESTFLEET_SERVER": server}
        self._display = display
        self._log = log

    def run(self, *words: str, meanwhile: Callable[[], object] = lambda: None) -> dict[str, Any]:
        """The JSON result of a command.

        Args:
            words: After ``nestfleet``.
            meanwhile: Called some times a second until the command ends.

        Raises:
            DemoFailure: The command failed; says what it said.
        """
        tree: dict[str, Any] = json.loads(self._run([*words, "--json"], shown=words, meanwhile=meanwhile))
        return tree

    def show(self, *words: str) -> None:
        """Run a command and show what it prints for people."""
        self._display.verbatim(self._run(list(words), shown=words, meanwhile=lambda: None))

    def _run(self, words: list[str], *, shown: tuple[str, ...], meanwhile: Callable[[], object]) -> str:
        self._display.command(f"nestfleet {shlex.join(shown)}")
        with self._log.open("a", encoding="utf-8") as errors, self._display.working():
            command = [sys.executable, "-m", "server.cli.main", *words]
            start = errors.tell()
            with subprocess.Popen(
                command, stdout=subprocess.PIPE, stderr=errors, text=True, env=self._environment
            ) as process:
                try:
                    output = _output_of(process, meanwhile)
                finally:
                    process.kill()
        if process.returncode:
            said = self._log.read_text("utf-8")[start:].strip()
            raise DemoFailure(f"nestfleet {shlex.join(shown)} failed: {said}")
        return output


def _output_of(process: subprocess.Popen[str], meanwhile: Callable[[], object]) -> str:
    for _ in range(int(_COMMAND_SECONDS / _POLL_SECONDS)):
        try:
            output, _ = process.communicate(timeout=_POLL_SECONDS)
        except subprocess.TimeoutExpired:
            meanwhile()
        else:
            return output
    raise DemoFailure(f"A command did not end within {_COMMAND_SECONDS:.0f} seconds.")
