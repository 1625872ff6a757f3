"""Folders that are made once, and again when what they are made from has changed."""

from __future__ import annotations

import hashlib
import shutil
import tempfile
from collections.abc import Callable, Iterable
from importlib.metadata import version
from pathlib import Path
from typing import Final

CACHE: Final = Path("build/bench/cache")
_ROOT: Final = Path(__file__).parents[3]


def digest_of(sources: Iterable[str], libraries: Iterable[str]) -> str:
    """What names the state of code and libraries, 12 hex digits.

    Args:
        sources: Files and folders of the project; folders with all modules in them.
        libraries: Names of distributions.
    """
    digest = hashlib.sha256()
    for source in sources:
        path = _ROOT / source
        for file in sorted(path.rglob("*.py")) if path.is_dir() else [path]:
            digest.update(f"{file.relative_to(_ROOT)}\n".encode())
            digest.update(file.read_bytes())
    for library in libraries:
        digest.update(f"{library} {version(library)}\n".encode())
    return digest.hexdigest()[:12]


def kept(kind: str, name: str, digest: str, make: Callable[[Path], None]) -> Path:
    """A folder with what ``make`` wrote into it in this run or an earlier one.

    Older ones of the same kind and name are removed when it is made anew.

    Args:
        kind: What it is.
        name: Of which model.
        digest: Names everything that it is made from.
        make: Fills an empty folder.
    """
    folder = CACHE / f"inference-{kind}-{name}-{digest}"
    if folder.exists():
        return folder
    CACHE.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=CACHE, prefix=".unfinished-") as unfinished:
        target = Path(unfinished) / "made"
        target.mkdir()
        make(target)
        for old in CACHE.glob(f"inference-{kind}-{name}-{'[0-9a-f]' * 12}"):
            shutil.rmtree(old)
        target.rename(folder)
    return folder
