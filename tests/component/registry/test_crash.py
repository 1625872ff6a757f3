"""A server that is killed in the middle of its work leaves whole versions only, and no lock behind."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

from server.registry.repository import Registry
from tests.support.factories import make_version

PROGRAM = """
import os, signal, sys
from server.registry.repository import Registry
from tests.support.factories import make_version
registry = Registry(sys.argv[1])
registry.add_version("digits", make_version("digits"))
make = make_version("digits")
def die(number):
    os.kill(os.getpid(), signal.SIGKILL)
registry.add_version("digits", die)
"""


def test_a_killed_server_leaves_whole_versions_and_no_lock(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/registry.sqlite"
    Registry.open(url).close()
    died = subprocess.run([sys.executable, "-c", PROGRAM, url], check=False, timeout=30)
    assert died.returncode == -signal.SIGKILL
    registry = Registry.open(url)
    assert [record.version for record in registry.list_versions()] == [1]
    assert registry.add_version("digits", make_version("digits")).version == 2
    registry.close()
