"""Arrays are read as they were written; whatever else is in the file is refused, and costs no memory."""

from __future__ import annotations

import contextlib
import io
import struct
import tempfile
import tracemalloc
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays_of
from numpy.typing import NDArray

from common.errors import InvalidInputError
from server.cli.npz import read_npz

MIB = 1024 * 1024
PLAIN = st.sampled_from(["<f4", ">f4", "<f8", "<f2", "<i8", "<u1", "|b1", "<U3"]).map(np.dtype)
ARRAYS: st.SearchStrategy[NDArray[Any]] = arrays_of.arrays(
    PLAIN, arrays_of.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=4)
)


def read(path: Path, max_bytes: int = MIB) -> dict[str, NDArray[Any]]:
    return read_npz(path, max_bytes=max_bytes, advice="Write it with numpy.savez.")


def packed(folder: Path, members: dict[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> Path:
    with zipfile.ZipFile(folder / "a.npz", "w", method) as file:
        for name, data in members.items():
            file.writestr(name, data)
    return folder / "a.npz"


def npy(header: str | bytes, data: bytes = b"", version: bytes = b"\x01\x00") -> bytes:
    raw = header.encode() if isinstance(header, str) else header
    length = struct.pack("<H" if version == b"\x01\x00" else "<I", len(raw))
    return b"\x93NUMPY" + version + length + raw + data


def stating(shape: str, descr: str = "'<f4'") -> str:
    return f"{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}}}"


@given(arrays=st.dictionaries(st.sampled_from("abc"), ARRAYS, max_size=3), compressed=st.booleans())
@example(arrays={"a": np.arange(6.0).reshape(2, 3).T}, compressed=False)
def test_arrays_are_read_as_they_were_written(arrays: dict[str, NDArray[Any]], *, compressed: bool) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a.npz"
        (np.savez_compressed if compressed else np.savez)(path, **arrays)  # type: ignore[arg-type]
        given_back = read(path)
    assert given_back.keys() == arrays.keys()
    for name, array in arrays.items():
        np.testing.assert_array_equal(given_back[name], array)
        assert given_back[name].dtype == array.dtype


@given(
    places=st.lists(st.tuples(st.integers(0, 2000), st.integers(0, 255)), min_size=1, max_size=6),
    cut=st.integers(0, 2000),
    compressed=st.booleans(),
)
def test_a_damaged_file_is_refused_or_read(
    places: list[tuple[int, int]], cut: int, *, compressed: bool
) -> None:
    buffer = io.BytesIO()
    save = np.savez_compressed if compressed else np.savez
    save(buffer, labels=np.arange(3), image=np.zeros((3, 2), np.float32))
    data = bytearray(buffer.getvalue())
    for place, value in places:
        data[place % len(data)] = value
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a.npz"
        path.write_bytes(data[: len(data) - cut % 3])
        with contextlib.suppress(InvalidInputError):
            read(path)


@pytest.mark.parametrize(
    "member",
    [
        b"",
        b"\x93NUMPY",
        npy(stating("(2,)"), bytes(7)),
        npy(stating("(2,)"), bytes(9)),
        npy(stating("(1 << 60,)")),
        npy(stating("(1152921504606846976,)")),
        npy(stating("(4294967296, 4294967296)")),
        npy(stating("(-1, -1)"), bytes(4)),
        npy(stating("(9223372036854775807,)", "'<U0'")),
        npy(stating("(1,)", "'|O'"), b"\x80\x04cos\nsystem\n(S'false'\ntR."),
        npy(stating("(1,)", "[('a', '|O')]"), bytes(8)),
        npy(stating("(1,)", "'nothing'"), bytes(4)),
        npy("{}"),
        npy("[" * 9000),
        npy("-" * 9000),
        npy("(" + "1+" * 3000),
        npy("'''"),
        npy(b"\xff" * 100),
        npy(stating("(1,)"), bytes(4), version=b"\x03\x00"),
        npy(stating("(1,)"), bytes(4), version=b"\x09\x00"),
    ],
)
def test_members_that_are_no_plain_arrays_are_refused(tmp_path: Path, member: bytes) -> None:
    with pytest.raises(InvalidInputError, match="plain arrays"):
        read(packed(tmp_path, {"image.npy": member}))


def test_the_second_version_of_headers_is_read(tmp_path: Path) -> None:
    member = npy(stating("(2,)"), np.array([1, 2], np.float32).tobytes(), version=b"\x02\x00")
    assert read(packed(tmp_path, {"image.npy": member}))["image"].tolist() == [1, 2]


@pytest.mark.parametrize("name", ["readme.txt", "image", "image.npy/"])
def test_other_files_in_it_are_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(InvalidInputError, match="plain arrays"):
        read(packed(tmp_path, {name: b""}))


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_compression_that_numpy_does_not_write_is_refused(tmp_path: Path, method: int) -> None:
    member = npy(stating("(1,)"), bytes(4))
    with pytest.raises(InvalidInputError, match="plain arrays"):
        read(packed(tmp_path, {"image.npy": member}, method))


def peak_bytes_of_refusal(path: Path, message: str) -> int:
    tracemalloc.start()
    try:
        with pytest.raises(InvalidInputError, match=message):
            read(path)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_a_bomb_is_refused_before_it_is_in_memory(tmp_path: Path) -> None:
    np.savez_compressed(tmp_path / "a.npz", image=np.zeros(64 * MIB, np.uint8))
    assert (tmp_path / "a.npz").stat().st_size < MIB
    assert peak_bytes_of_refusal(tmp_path / "a.npz", r"unpacks to 64\.00 MiB; 1\.00 MiB are") < MIB


def test_many_small_arrays_count_together(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", *(np.zeros(MIB // 4, np.uint8) for _ in range(4)))
    with pytest.raises(InvalidInputError, match=r"unpacks to 1\.00 MiB; 1\.00 MiB"):
        read(tmp_path / "a.npz")


def test_a_bomb_that_understates_its_size_gives_no_more_than_that(tmp_path: Path) -> None:
    path = packed(tmp_path, {"image.npy": npy(stating("(67108864,)", "'|u1'"), bytes(64 * MIB))})
    data = path.read_bytes()
    entry = data.rindex(b"PK\x01\x02")
    path.write_bytes(data[: entry + 24] + struct.pack("<I", 1000) + data[entry + 28 :])
    assert peak_bytes_of_refusal(path, "plain arrays") < 4 * MIB


def test_a_huge_header_is_not_read(tmp_path: Path) -> None:
    member = npy(b" " * (MIB // 2), version=b"\x02\x00")
    with pytest.raises(InvalidInputError, match="plain arrays"):
        read(packed(tmp_path, {"image.npy": member}))
