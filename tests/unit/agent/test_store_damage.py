"""What damage on the disk, or a manifest that lies, may cost: never a sound blob that something runs from."""

from __future__ import annotations

import errno
from dataclasses import replace
from pathlib import Path

import pytest

from common.errors import CapacityError, IntegrityError
from common.manifest import Manifest
from device_agent.store.failures import disk_errors
from device_agent.store.ledger import Item, Kind
from device_agent.store.records import Release
from device_agent.store.store import Store
from device_agent.update.progress import fault_of
from tests.support.factories import manifest

CONTENTS = ("base", "six", "eight")
RELEASE = Release("net", 1, "a" * 64, 1)


def _stored(root: Path) -> tuple[Store, Manifest]:
    store, sound = Store.open(root, "kitchen"), manifest("net", 1, contents=CONTENTS)
    for ref, content in zip(sound.blocks[0].blobs, CONTENTS, strict=True):
        store.expect(RELEASE, [Item(ref.digest, Kind.BASE, 4, ref.size_bytes)])
        store.append(ref.digest, content.encode())
        store.finish([ref])
    return store, sound


def test_a_manifest_that_lies_about_a_size_costs_no_sound_blob(tmp_path: Path) -> None:
    store, sound = _stored(tmp_path)
    block = sound.blocks[0]
    lies = tuple(replace(ref, size_bytes=ref.size_bytes + 1) for ref in block.blobs)
    assert store.remove_rotten(replace(sound, blocks=(replace(block, blobs=lies),))) == 0
    assert all(store.blobs.has(ref.digest) for ref in block.blobs)
    store.close()


@pytest.mark.parametrize("damaged", [b"bass", b"bas", b"base.", b""])
def test_a_blob_that_rots_goes_alone(tmp_path: Path, damaged: bytes) -> None:
    store, sound = _stored(tmp_path)
    base, *others = sound.blocks[0].blobs
    (tmp_path / "blobs" / base.digest).write_bytes(damaged)
    assert store.remove_rotten(sound) == 1
    assert store.blobs.present == {ref.digest for ref in others}
    store.close()


def test_a_fault_says_what_to_do() -> None:
    told = fault_of(RELEASE, IntegrityError("It ends too early.", advice="Look at the link."))
    assert told.detail == "It ends too early. Look at the link."
    untold = fault_of(RELEASE, IntegrityError("It ends too early."))
    assert untold.detail == "It ends too early. Push the version again, and assign that one."


@pytest.mark.parametrize(
    ("number", "advice"), [(errno.ENOSPC, "Free some space"), (errno.EROFS, "may write")]
)
def test_a_disk_says_whether_it_is_full_or_closed(number: int, advice: str) -> None:
    with pytest.raises(CapacityError, match=advice), disk_errors():
        raise OSError(number, "It fails")
