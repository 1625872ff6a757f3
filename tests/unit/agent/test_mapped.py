"""Blobs as maps of their files: the same bytes, no memory, and errors where a read would give them."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

import pytest

from common.errors import IntegrityError, NotFoundError
from common.manifest import BlobRef
from device_agent.store.blobs import BlobFolder
from device_agent.store.mapped import map_file
from tests.support.process_memory import anonymous_bytes

DIGEST = "ab" * 32


@pytest.fixture
def blobs(tmp_path: Path) -> BlobFolder:
    return BlobFolder(tmp_path)


def descriptors_of(path: Path) -> list[int]:
    """This process's descriptors of a file; others come and go with the threads of the test run."""
    found = []
    for descriptor in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):  # it is gone by now
            if descriptor.readlink() == path:
                found.append(int(descriptor.name))
    return found


def put(blobs: BlobFolder, data: bytes) -> None:
    blobs.put_whole(BlobRef(DIGEST, len(data), len(data), "raw"), data)


@pytest.mark.parametrize("size_bytes", [0, 1, 4096, 300_001])
def test_a_blob_reads_as_it_was_written_and_nobody_can_change_it(blobs: BlobFolder, size_bytes: int) -> None:
    data = os.urandom(size_bytes)
    put(blobs, data)
    read = blobs.read(DIGEST)
    assert read.readonly
    assert read == data


def test_a_blob_that_is_removed_or_replaced_stays_as_it_was_for_those_who_read_it(blobs: BlobFolder) -> None:
    put(blobs, b"first" * 1000)
    read = blobs.read(DIGEST)
    put(blobs, b"other")
    assert read == b"first" * 1000
    assert bytes(blobs.read(DIGEST)) == b"other"
    blobs.remove(DIGEST)
    assert read == b"first" * 1000
    with pytest.raises(NotFoundError, match="is not in the store"):
        blobs.read(DIGEST)


def test_what_is_no_file_is_an_error_not_a_signal(tmp_path: Path, blobs: BlobFolder) -> None:
    (tmp_path / "blobs" / DIGEST).mkdir()
    with pytest.raises(IntegrityError, match="cannot be read"):
        blobs.read(DIGEST)


def test_a_map_keeps_no_descriptor_of_the_file_once_it_is_gone(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"x" * 5000)
    assert not descriptors_of(path)
    for _ in range(5):
        assert map_file(path)[0] == ord("x")
    assert not descriptors_of(path)


def test_a_file_that_is_open_is_seen_among_the_descriptors(tmp_path: Path) -> None:
    path = tmp_path / "file"
    with path.open("wb") as file:
        assert descriptors_of(path) == [file.fileno()]


def test_a_map_takes_no_memory_of_the_process(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(os.urandom(1 << 20) * 32)
    before_bytes = anonymous_bytes()
    read = map_file(path)
    assert sum(read[at] for at in range(0, len(read), 4096)) > 0
    assert anonymous_bytes() - before_bytes < 4 << 20
