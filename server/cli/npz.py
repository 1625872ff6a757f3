"""Arrays from an ``.npz`` file that a stranger may have made: plain ones, of a size known first."""

from __future__ import annotations

import io
import math
import tokenize
import zipfile
import zlib
from pathlib import Path
from typing import IO, Any, Final

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from common.byte_sizes import format_bytes
from common.errors import InvalidInputError

_SUFFIX: Final = ".npy"
_METHODS: Final = frozenset({zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED})
# Headers of plain arrays have some hundred bytes.
_HEADER_BYTES: Final = 64 * 1024
_HEADERS: Final = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}
# What zipfile and numpy raise for damaged bytes.
_DAMAGE: Final = (
    ValueError,
    TypeError,
    KeyError,
    EOFError,
    RuntimeError,
    zipfile.BadZipFile,
    zlib.error,
)


def read_npz(path: Path, *, max_bytes: int, advice: str) -> dict[str, NDArray[Any]]:
    """Every array of the file under its name. Nothing is unpickled.

    Args:
        path: The file.
        max_bytes: What the arrays may take in memory, all together.
        advice: How to write such a file.

    Raises:
        InvalidInputError: It cannot be read, is no such file, or its arrays take more.
    """
    try:
        with path.open("rb") as raw, zipfile.ZipFile(raw) as file:
            members = file.infolist()
            _check_size(path, sum(member.file_size for member in members), max_bytes)
            for member in members:
                _check_member(file, member)
            return {member.filename.removesuffix(_SUFFIX): _array(file, member) for member in members}
    except OSError as error:
        raise InvalidInputError(f"{path} cannot be read: {error.strerror or error}.") from error
    except _DAMAGE as error:
        raise InvalidInputError(f"{path} is no .npz file of plain arrays.", advice=advice) from error


def _check_size(path: Path, size_bytes: int, max_bytes: int) -> None:
    """Nothing, when the file unpacks to no more; zipfile never gives more than a member states."""
    if size_bytes > max_bytes:
        raise InvalidInputError(
            f"{path} unpacks to {format_bytes(size_bytes)}; {format_bytes(max_bytes)} are allowed.",
            advice="Give fewer samples.",
        )


def _check_member(file: zipfile.ZipFile, member: zipfile.ZipInfo) -> None:
    """Nothing, when the member is one plain array of exactly the bytes that its header states.

    Raises:
        ValueError: It is not; numpy would set aside whatever the header asks for.
    """
    if not member.filename.endswith(_SUFFIX) or member.compress_type not in _METHODS:
        raise ValueError(member.filename)
    with file.open(member) as stream:
        shape, dtype, header_bytes = _header(stream)
    stated_bytes = math.prod(shape) * dtype.itemsize
    if dtype.hasobject or not dtype.itemsize or min(shape, default=0) < 0:
        raise ValueError(dtype)
    if stated_bytes != member.file_size - header_bytes:
        raise ValueError(stated_bytes)


def _header(stream: IO[bytes]) -> tuple[tuple[int, ...], np.dtype[Any], int]:
    """Shape, dtype, and where the data starts."""
    start = io.BytesIO(stream.read(_HEADER_BYTES))
    try:
        shape, _, dtype = _HEADERS[npy.read_magic(start)](start)
    except (SyntaxError, tokenize.TokenError, MemoryError) as error:  # Python's own parser reads the header
        raise ValueError(start) from error
    return shape, dtype, start.tell()


def _array(file: zipfile.ZipFile, member: zipfile.ZipInfo) -> NDArray[Any]:
    with file.open(member) as stream:
        array: NDArray[Any] = npy.read_array(stream, allow_pickle=False)
        return array
