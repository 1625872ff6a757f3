"""Where the demo keeps its files, seen from the project's folder."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Final

ROOT: Final = Path("build/demo")
CACHE: Final = ROOT / "cache"
RUN: Final = ROOT / "run"
LOGS: Final = ROOT / "logs"
ACCEPTANCE: Final = ROOT / "acceptance.npz"
REPORT: Final = ROOT / "report.json"
PICTURE: Final = ROOT / "savings.png"


def start_clean() -> None:
    """What an earlier run left is gone, but for its trained weights."""
    for folder in (RUN, LOGS):
        shutil.rmtree(folder, ignore_errors=True)
    for file in (ACCEPTANCE, REPORT, PICTURE):
        file.unlink(missing_ok=True)
    for folder in (CACHE, RUN, LOGS):
        folder.mkdir(parents=True, exist_ok=True)
