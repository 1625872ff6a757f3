from __future__ import annotations

import tempfile
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.errors import InvalidInputError
from server.delivery.order import OPTIONAL, Part, PushOrder
from server.delivery.receive import Receiving


def order_for(parts: dict[Part, bytes]) -> PushOrder:
    sizes = dict.fromkeys(Part, 0) | {part: len(data) for part, data in parts.items()}
    return PushOrder("digits", (4, 8), "floor", sizes, 0.0, 1 << 20)


def cut(part: Part, data: bytes, places: list[int]) -> list[tuple[Part, bytes]]:
    edges = sorted({0, len(data), *(place % (len(data) + 1) for place in places)})
    return [(part, data[start:stop]) for start, stop in pairwise(edges)]


CONTENT = st.binary(min_size=1, max_size=200)
PARTS = st.fixed_dictionaries(
    {part: CONTENT for part in Part if part not in OPTIONAL},
    optional=dict.fromkeys(OPTIONAL, CONTENT),
).map(lambda parts: {part: parts[part] for part in Part if part in parts})
PLACES = st.lists(st.integers(0, 1000), max_size=5)


@given(PARTS, PLACES)
def test_parts_arrive_whole_however_they_are_cut(parts: dict[Part, bytes], places: list[int]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        with Receiving(order_for(parts), Path(folder)) as receiving:
            for part, data in parts.items():
                for chunk in cut(part, data, places):
                    receiving.write(*chunk)
            receiving.finish()
            assert {part: (Path(folder) / part.value).read_bytes() for part in parts} == parts
            assert len(list(Path(folder).iterdir())) == len(parts)
        assert receiving.done_bytes == sum(map(len, parts.values()))


@given(PARTS, st.data())
def test_any_other_stream_is_refused(parts: dict[Part, bytes], data: st.DataObject) -> None:
    chunks = list(parts.items())
    index = data.draw(st.integers(0, len(chunks) - 1))
    part, content = chunks[index]
    broken = data.draw(
        st.sampled_from(
            [
                chunks[:index] + chunks[index + 1 :],
                [*chunks[:index], (part, content[:-1]), *chunks[index + 1 :]],
                [*chunks[:index], (part, content + b"x"), *chunks[index + 1 :]],
                [*chunks[:index], (part, content), (part, b"x"), *chunks[index + 1 :]],
                [*chunks, chunks[index]],
                list(reversed(chunks)),
            ]
        )
    )
    with tempfile.TemporaryDirectory() as folder, Receiving(order_for(parts), Path(folder)) as receiving:

        def send() -> None:
            for chunk in broken:
                receiving.write(*chunk)
            receiving.finish()

        with pytest.raises(InvalidInputError):
            send()


def test_an_empty_chunk_changes_nothing(tmp_path: Path) -> None:
    parts = dict.fromkeys(Part, b"ab")
    with Receiving(order_for(parts), tmp_path) as receiving:
        for part, data in parts.items():
            receiving.write(part, b"")
            receiving.write(part, data)
            receiving.write(part, b"")
        receiving.finish()


@pytest.mark.parametrize("data", [b"", b"x"])
@pytest.mark.parametrize("part", OPTIONAL)
def test_a_part_that_was_not_announced_is_refused(tmp_path: Path, part: Part, data: bytes) -> None:
    parts: dict[Part, bytes] = {other: b"ab" for other in Part if other not in OPTIONAL}
    with Receiving(order_for(parts), tmp_path) as receiving:
        for chunk in parts.items():
            receiving.write(*chunk)
        with pytest.raises(InvalidInputError, match=f"did not announce its {part.name.lower()}"):
            receiving.write(part, data)
