"""A server that dies without a word, and comes back."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.support.ports import kept_port
from tests.support.waiting import until

ROOT = Path(__file__).parents[3]


class KilledServer:
    """A server process on a folder that outlives it, at one address.

    Attributes:
        address: ``HOST:PORT``, the same after every start.
    """

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self._ready_file = folder / "ready.json"
        self._process: subprocess.Popen[bytes] | None = None
        self._stack = ExitStack()
        self.address = ""

    async def __aenter__(self) -> Self:
        self.address = f"127.0.0.1:{self._stack.enter_context(kept_port())}"
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.kill()
        self._stack.close()

    async def start(self) -> None:
        """It serves."""
        self._begin()
        await until(self._ready_file.exists)

    def _begin(self) -> None:
        self._ready_file.unlink(missing_ok=True)
        settings = {
            "data_dir": self._folder / "data",
            "listen": self.address,
            "broker_listen": "127.0.0.1:0",
            "ready_file": self._ready_file,
            "disk_reserve_bytes": 0,
        }
        said = {f"NESTFLEET_SERVER_{name.upper()}": str(value) for name, value in settings.items()}
        kept = {name: value for name, value in os.environ.items() if not name.startswith("NESTFLEET_")}
        with (self._folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-c", "from server.cli.main import main; main()", "server"],
                cwd=self._folder,
                env={**kept, **said, "PYTHONPATH": f"{ROOT}:{ROOT / 'proto'}"},
                stdout=log,
                stderr=subprocess.STDOUT,
            )

    def kill(self) -> None:
        """SIGKILL, and wait for the end."""
        if self._process is not None:
            self._process.send_signal(signal.SIGKILL)
            self._process.wait(60)
            self._process = None
