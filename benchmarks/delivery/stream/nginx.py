"""nginx on the same files, where it is installed."""

from __future__ import annotations

import contextlib
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import psutil

_START_SECONDS: Final = 10.0
_CONFIGURATION: Final = """
worker_processes 1;
daemon off;
pid {folder}/nginx.pid;
error_log {folder}/nginx.log;
events {{ worker_connections 256; }}
http {{
  access_log off; sendfile on; tcp_nopush on; keepalive_requests 100000;
  client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy; fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi; scgi_temp_path {folder}/scgi;
  server {{ listen 127.0.0.1:{port}; root {root}; }}
}}
"""


@dataclass(frozen=True, slots=True)
class Nginx:
    """A running nginx.

    Attributes:
        address: ``HOST:PORT``.
        pid: Of its master.
    """

    address: str
    pid: int


@contextlib.contextmanager
def nginx(folder: Path, root: Path) -> Iterator[Nginx | None]:
    """One that serves the folder ``root`` while the context lasts; None where none is installed."""
    program = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin")
    if program is None:
        yield None
        return
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    file = folder / "nginx.conf"
    file.write_text(_CONFIGURATION.format(folder=folder, root=root, port=port), "utf-8")
    _readable(root)
    process = subprocess.Popen([program, "-c", str(file)], stderr=subprocess.DEVNULL)
    try:
        _wait(port, process)
        yield Nginx(f"127.0.0.1:{port}", process.pid)
    finally:
        process.terminate()
        process.wait(_START_SECONDS)


def _readable(root: Path) -> None:
    """Its workers are another user, who has to reach the files."""
    for path in (root, *root.parents[:4], *root.rglob("*")):
        with contextlib.suppress(PermissionError):
            if str(path).startswith("/tmp") and path != Path("/tmp"):  # noqa: S108  # what this benchmark made
                path.chmod(0o755 if path.is_dir() else 0o644)


def _wait(port: int, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + _START_SECONDS
    while True:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return
        if process.poll() is not None or time.monotonic() > deadline:
            raise RuntimeError("nginx does not start")
        time.sleep(0.05)


def cpu_seconds(pid: int) -> float:
    """Of a process and its children that live."""
    process = psutil.Process(pid)
    times = [one.cpu_times() for one in (process, *process.children(recursive=True))]
    return sum(one.user + one.system for one in times)
