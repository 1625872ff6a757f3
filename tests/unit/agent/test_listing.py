from __future__ import annotations

import threading
from pathlib import Path

from device_agent.store.listing import digest_sizes
from tests.support.waiting import wait_until


def test_only_files_named_by_digest_count(tmp_path: Path) -> None:
    (tmp_path / ("a" * 64)).write_bytes(b"12345")
    (tmp_path / f".{'b' * 64}.1234").write_bytes(b"x")
    (tmp_path / "lock").write_bytes(b"x")
    assert digest_sizes(tmp_path) == {"a" * 64: 5}


def test_files_may_come_and_go_meanwhile(tmp_path: Path) -> None:
    names = [f"{number:064x}" for number in range(200)]
    over = threading.Event()

    def come_and_go() -> None:
        while not over.is_set():
            for name in names:
                (tmp_path / name).touch()
            for name in names:
                (tmp_path / name).unlink()

    thread = threading.Thread(target=come_and_go)
    thread.start()
    try:
        wait_until(lambda: bool(digest_sizes(tmp_path)), "files come")
        assert all(len(digest_sizes(tmp_path)) <= len(names) for _ in range(300))
    finally:
        over.set()
        thread.join()
