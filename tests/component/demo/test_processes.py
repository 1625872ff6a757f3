from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.demo.failure import DemoFailure
from benchmarks.demo.processes import Child, Children
from tests.support.waiting import wait_until

# Says that it is ready, starts a child of its own, and sleeps; "deaf" ignores SIGTERM.
PROGRAM = """
import os, pathlib, signal, subprocess, sys, time
if sys.argv[2] == "deaf":
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
grandchild = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
ready, unfinished = pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[1] + ".unfinished")
unfinished.write_text('{"pid": %d}' % os.getpid())
unfinished.replace(ready)
time.sleep(60)
"""


def start(children: Children, folder: Path, mode: str, monkeypatch: pytest.MonkeyPatch) -> Child:
    (folder / "sleeper.py").write_text(PROGRAM)
    monkeypatch.setenv("PYTHONPATH", f"{folder}:{Path.cwd()}")
    ready_file = folder / "ready.json"
    return children.start("sleeper", ["sleeper", str(ready_file), mode], {"SET": "1"}, ready_file)


@pytest.mark.parametrize("mode", ["polite", "deaf"])
def test_nothing_is_left_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mode: str) -> None:
    with Children(tmp_path, stop_seconds=0.5) as children:
        child = start(children, tmp_path, mode, monkeypatch)
        wait_until(child.is_ready, "the child is ready")
        assert child.addresses() == {"pid": child.process.pid}
        assert len(children.leftovers()) == 2
    wait_until(lambda: children.leftovers() == [], "nothing is left")


def test_a_process_that_ends_too_early_is_reported_with_its_log(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Children(tmp_path) as children:
        child = start(children, tmp_path, "polite", monkeypatch)
        wait_until(child.is_ready, "the child is ready")
        os.kill(child.process.pid, signal.SIGKILL)
        child.process.wait()
        with pytest.raises(DemoFailure, match=r"(?s)sleeper ended with status -9.*sleeper\.log"):
            children.check_running()


@pytest.mark.skipif(sys.platform != "linux", reason="the tie to the parent is Linux's")
def test_a_child_ends_when_the_demo_is_killed() -> None:
    program = "import time; time.sleep(60)"
    parent = (
        "import subprocess, sys, time; "
        "child = subprocess.Popen([sys.executable, '-m', 'benchmarks.demo.tied_child', "
        f"sys.executable, '-c', {program!r}]); print(child.pid, flush=True); time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", parent], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        pid = int(process.stdout.readline())
        command = Path(f"/proc/{pid}/cmdline")
        wait_until(
            lambda: b"tied_child" not in command.read_bytes() and b"sleep" in command.read_bytes(),
            "the child runs its program",
            seconds=60,
        )
        process.kill()
    wait_until(lambda: not _runs(pid), "the child is gone")


def _runs(pid: int) -> bool:
    try:
        return b"sleep" in Path(f"/proc/{pid}/cmdline").read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return False
