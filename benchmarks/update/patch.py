"""The rival that needs no knowledge of models: zstd with the old file as its prefix."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Any, Final

import zstandard
from numpy.typing import NDArray

from benchmarks.update.version import Version

_LEVEL: Final = 19
_MIN_WINDOW_LOG: Final = 20


def patch_from_bytes(held: Version, wanted: Version) -> int:
    """``zstd -19 --long --patch-from`` over all blobs, or over what they say, uncompressed: the smaller.

    By the library, and by the command where there is one: its matcher for long distances loses or gains.
    """
    files = ((_blobs(held), _blobs(wanted)), (_plain(held), _plain(wanted)))
    sizes = [len(patch_from(old, new)) for old, new in files]
    command = shutil.which("zstd")
    if command:
        sizes += [_command_bytes(command, old, new) for old, new in files]
    return min(sizes)


def _command_bytes(command: str, old: bytes, new: bytes) -> int:
    with tempfile.TemporaryDirectory() as folder:
        before, after, patch = (Path(folder) / name for name in ("before", "after", "patch"))
        before.write_bytes(old)
        after.write_bytes(new)
        options = [f"-{_LEVEL}", "--ultra", "--long=27", "-q", "-f", f"--patch-from={before}"]
        subprocess.run(
            [command, *options, str(after), "-o", str(patch)], check=True, stderr=subprocess.DEVNULL
        )
        return patch.stat().st_size


def patch_from(old: bytes, new: bytes) -> bytes:
    """The new bytes as one zstd frame, given the old ones.

    The window holds both whole, as ``--long`` makes it. Its matcher for long distances is left out: over a
    dictionary it takes minutes, and the search of level 19 finds more (1.41 % against the command's 1.43 % of
    MiniLM's codes with the last layer tuned).
    """
    window_log = max(_MIN_WINDOW_LOG, (len(old) + len(new)).bit_length())
    parameters = zstandard.ZstdCompressionParameters.from_level(_LEVEL, window_log=window_log)
    prefix = zstandard.ZstdCompressionDict(old, dict_type=zstandard.DICT_TYPE_RAWCONTENT)
    return zstandard.ZstdCompressor(dict_data=prefix, compression_params=parameters).compress(new)


def _blobs(version: Version) -> bytes:
    return b"".join(version.blobs[ref.digest] for block in version.manifest.blocks for ref in block.blobs)


def _plain(version: Version) -> bytes:
    """An INT8 model as people store it: codes, a byte each, tensor by tensor; then scales and floats."""
    codes = version.codes(version.manifest.levels[-1]).values()
    rest: list[NDArray[Any]] = []
    for block in version.manifest.blocks:
        for content in version.contents(block):
            rest += [array for grid in content.grids for array in (grid.scale, grid.zero)]
            rest += [content.floats[name] for name in sorted(content.floats)]
    return b"".join(array.tobytes() for array in (*codes, *rest))
