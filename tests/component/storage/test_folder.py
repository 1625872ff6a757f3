"""A folder as a blob store: damage, leftovers, a full disk, no access."""

from __future__ import annotations

import errno
import os
import resource
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from common.digest import sha256_hex
from common.errors import CapacityError, ConfigError, IntegrityError
from server.storage.failures import converted
from server.storage.folder import FolderBlobStore
from server.storage.object_store import open_blob_store

DATA = b"weights" * 1000
DIGEST = sha256_hex(DATA)


def path_of(root: Path, digest: str) -> Path:
    return root / digest[:2] / digest[2:4] / digest


def test_a_blob_lies_under_its_digest(tmp_path: Path) -> None:
    FolderBlobStore(tmp_path / "blobs").put(DIGEST, DATA)
    assert path_of(tmp_path / "blobs", DIGEST).read_bytes() == DATA


@pytest.mark.parametrize("damage", [DATA[:-1], DATA + b"!", b"", DATA[:-1] + b"!"])
def test_damage_is_noticed_and_the_next_put_heals_it(tmp_path: Path, damage: bytes) -> None:
    store = FolderBlobStore(tmp_path)
    store.put(DIGEST, DATA)
    path_of(tmp_path, DIGEST).write_bytes(damage)
    with pytest.raises(IntegrityError):
        store.read(DIGEST)
    assert store.put(DIGEST, DATA) is False
    assert store.read(DIGEST) == DATA


def test_putting_again_leaves_a_good_file_in_place(tmp_path: Path) -> None:
    store = FolderBlobStore(tmp_path)
    store.put(DIGEST, DATA)
    before = path_of(tmp_path, DIGEST).stat().st_ino
    store.put(DIGEST, DATA)
    assert path_of(tmp_path, DIGEST).stat().st_ino == before


def test_foreign_files_are_no_blobs_and_old_leftovers_go(tmp_path: Path) -> None:
    store = FolderBlobStore(tmp_path)
    store.put(DIGEST, DATA)
    (tmp_path / "notes.txt").write_text("mine")
    (tmp_path / DIGEST).write_bytes(b"in the wrong place")
    old = path_of(tmp_path, DIGEST).with_name(f"{DIGEST}#1")
    young = old.with_name(f"{DIGEST}#2")
    old.write_bytes(bytes(300))
    os.utime(old, (1, 1))
    young.write_bytes(bytes(200))
    assert [blob.digest for blob in store.list()] == [DIGEST]
    assert store.remove_leftovers(older_than_unix_ms=1_000_000_000_000) == 300
    assert not old.exists()
    assert young.exists()
    assert (tmp_path / "notes.txt").exists()


def test_a_full_disk_is_a_lack_of_capacity_and_leaves_no_blob(tmp_path: Path) -> None:
    """A file size limit stands for the full disk in this process's child, since it cannot fill a real one."""
    program = (
        "import sys, signal, pathlib\n"
        "from server.storage.folder import FolderBlobStore\n"
        "from common.digest import sha256_hex\n"
        "from common.errors import Error\n"
        "store, data = FolderBlobStore(pathlib.Path(sys.argv[1])), bytes(100_000)\n"
        "try:\n    store.put(sha256_hex(data), data)\n"
        "except Error as error:\n    print(error.code, len(list(store.list())))\n"
    )

    def limit() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))

    result = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path / "blobs")],
        preexec_fn=limit,
        check=True,
        capture_output=True,
        text=True,
        timeout=30,
    )
    assert result.stdout.split() == ["capacity", "0"]


def test_a_store_without_room_says_so() -> None:
    with pytest.raises(CapacityError, match="full"), converted(DIGEST):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.mark.parametrize("url", ["file://elsewhere/blobs", "file:", "ftp://x/y", "nonsense", "s3:", ""])
def test_a_url_that_names_no_store_is_refused(url: str) -> None:
    with pytest.raises(ConfigError):
        open_blob_store(url)


def test_a_folder_that_cannot_be_made_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(ConfigError, match="cannot be made"):
        open_blob_store(f"file://{tmp_path}/file/blobs")
