"""The manifest: canonical, bounded, and refusing whatever is not exactly itself."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.digest import sha256_hex
from common.errors import ManifestError
from common.manifest import (
    MAX_GAIN,
    MAX_TENSORS_PER_BLOCK,
    BlobRef,
    Block,
    Manifest,
    TensorPart,
    canonical_json,
    digest_of,
    from_json,
    to_json,
)


def ref(seed: str, size_bytes: int = 10) -> BlobRef:
    return BlobRef(sha256_hex(seed.encode()), size_bytes, size_bytes, "raw")


def manifest() -> Manifest:
    block = Block(
        tensors=(TensorPart("conv.weight", (16, 3, 3, 3), 0, 16),),
        floats=("conv.bias",),
        blobs=(ref("base"), ref("six"), ref("eight")),
        digests=tuple(sha256_hex(level) for level in (b"4", b"6", b"8")),
    )
    floats_only = Block((), ("norm.weight",), (ref("floats"),), (sha256_hex(b""),))
    return Manifest("digits", 3, (4, 6, 8), "floor", ref("graph"), ref("self-test"), (block, floats_only))


def mixed() -> Manifest:
    """One block as above but with floats of each level and gains, one pinned at 8, one at 6; a report."""
    block, floats_only = manifest().blocks
    whole = replace(block, floats=(), level_floats=("conv.bias", "norm.mean"), gains=(0, MAX_GAIN))
    at_8 = replace(whole, blobs=block.blobs[2:], digests=block.digests[2:], gains=())
    at_6 = replace(block, blobs=block.blobs[1:], digests=block.digests[1:], shard_bits=(3,))
    blocks = (whole, at_8, at_6, floats_only)
    return replace(manifest(), blocks=blocks, fidelity=ref("report"))


def altered(block: int, **fields: object) -> bytes:
    """The mixed manifest's bytes with other fields in a block; None leaves one out."""
    tree = json.loads(to_json(mixed()))
    for key, value in fields.items():
        if value is None:
            tree["blocks"][block].pop(key, None)
        else:
            tree["blocks"][block][key] = value
    return canonical_json(tree)


def test_a_version_without_later_additions_keeps_the_bytes_that_it_always_had() -> None:
    assert digest_of(manifest()) == "f26d5a1ff10245318b6c2b7387eb5a6ced1d2bbb4d893662d952db5073234c17"
    plain, floats_only = manifest().blocks
    wide = replace(manifest(), rounding="adaptive", blocks=(replace(plain, shard_bits=(3, 4)), floats_only))
    assert digest_of(wide) == "69277c4cbe8b8cc7d9ab713cf7156b342fd8c0a3ec638106551be2bc4a82b275"


def test_blocks_of_other_bases_with_floats_of_each_level_and_gains_come_back() -> None:
    assert from_json(to_json(mixed())) == mixed()
    assert to_json(mixed()).count(b'"gains"') == 1
    assert to_json(mixed()).count(b'"level_floats"') == 2
    assert to_json(mixed()).count(b'"fidelity"') == 1


def test_the_number_of_blobs_tells_the_levels_of_a_block() -> None:
    levels = [block.levels((4, 6, 8)) for block in mixed().blocks]
    assert levels == [(4, 6, 8), (8,), (6, 8), (4,)]
    assert [block.nearest((4, 6, 8), 6) for block in mixed().blocks] == [6, 8, 6, 4]
    assert mixed().nearest(8) == (8, 8, 8, 4)
    assert mixed().base_levels() == (4, 8, 6, 4)
    assert [[step.high for step in block.steps((4, 6, 8))] for block in mixed().blocks] == [
        [6, 8],
        [],
        [8],
        [],
    ]


def test_a_device_holds_all_that_a_version_names_but_its_report() -> None:
    named, held = list(mixed().blob_refs()), list(mixed().device_refs())
    assert [item for item in named if item not in held] == [ref("report")]
    assert set(held) < set(named)
    assert list(manifest().blob_refs()) == list(manifest().device_refs())


@pytest.mark.parametrize(
    ("block", "fields"),
    [
        (0, {"blobs": []}),
        (0, {"digests": []}),
        (0, {"blobs": [], "digests": []}),
        (1, {"digests": [sha256_hex(b"6"), sha256_hex(b"8")]}),
        (3, {"blobs": [], "digests": []}),
        (0, {"level_floats": []}),
        (0, {"level_floats": None, "floats": ["conv.bias", "conv.bias"]}),
        (0, {"level_floats": ["conv.bias", "conv.bias"]}),
        (0, {"floats": ["conv.bias"]}),
        (0, {"level_floats": "conv.bias"}),
        (0, {"level_floats": [1]}),
        (0, {"level_floats": ["line\nbreak"]}),
        (0, {"level_floats": [str(index) for index in range(MAX_TENSORS_PER_BLOCK + 1)]}),
        (3, {"level_floats": ["other"]}),
        (0, {"gains": []}),
        (0, {"gains": [1]}),
        (0, {"gains": [1, 1, 1]}),
        (0, {"gains": [1, -1]}),
        (0, {"gains": [1, MAX_GAIN + 1]}),
        (0, {"gains": [1, 1.0]}),
        (0, {"gains": [1, True]}),
        (0, {"gains": {}}),
        (1, {"gains": []}),
        (1, {"gains": [1]}),
        (3, {"gains": [1]}),
        (1, {"shard_bits": []}),
        (1, {"shard_bits": [3]}),
        (2, {"shard_bits": [2]}),
        (2, {"shard_bits": [3, 3]}),
    ],
    ids=str,
)
def test_a_block_that_contradicts_itself_is_refused(block: int, fields: dict[str, object]) -> None:
    with pytest.raises(ManifestError):
        from_json(altered(block, **fields))


@pytest.mark.parametrize(
    "report", [None, [], {}, "", ["00", 1, 1, "raw"], [sha256_hex(b""), 1, 2, "raw"]], ids=str
)
def test_a_report_that_is_no_blob_is_refused(report: object) -> None:
    tree = json.loads(to_json(mixed()))
    tree["fidelity"] = report
    with pytest.raises(ManifestError):
        from_json(canonical_json(tree))


@given(st.integers(0, len(to_json(mixed())) - 1), st.integers(1, 255))
def test_a_flipped_byte_never_passes_for_the_same_mixed_version(position: int, flip: int) -> None:
    data = bytearray(to_json(mixed()))
    data[position] ^= flip
    try:
        other = from_json(bytes(data))
    except ManifestError:
        return
    assert digest_of(other) != digest_of(mixed())


def test_reading_undoes_writing_and_equal_content_gives_equal_bytes() -> None:
    data = to_json(manifest())
    assert from_json(data) == manifest()
    assert to_json(from_json(data)) == data
    assert digest_of(manifest()) == sha256_hex(data)


def test_a_block_states_widths_of_shards_that_are_wider_than_their_steps() -> None:
    plain, floats_only = manifest().blocks
    wide = replace(plain, shard_bits=(3, 4))
    stated = replace(manifest(), rounding="adaptive", blocks=(wide, floats_only))
    assert from_json(to_json(stated)) == stated
    assert [step.shard_bits for step in wide.steps((4, 6, 8))] == [3, 4]
    assert [step.shard_bits for step in plain.steps((4, 6, 8))] == [2, 2]
    assert floats_only.steps((4, 6, 8)) == ()
    assert b"shard_bits" not in to_json(manifest())


@pytest.mark.parametrize(
    "widths", [[2, 2], [1, 3], [3], [3, 3, 3], [], [3, 9], [3, -3], [3, True], [3, 3.0], "33", None], ids=str
)
def test_widths_that_cannot_be_or_go_without_saying_are_refused(widths: object) -> None:
    tree = json.loads(to_json(manifest()))
    tree["blocks"][0]["shard_bits"] = widths
    with pytest.raises(ManifestError):
        from_json(canonical_json(tree))


def test_a_block_of_floats_has_no_shards_to_state_widths_of() -> None:
    tree = json.loads(to_json(manifest()))
    tree["blocks"][1]["shard_bits"] = [3, 3]
    with pytest.raises(ManifestError):
        from_json(canonical_json(tree))


def test_counts_follow_from_shapes() -> None:
    part = manifest().blocks[0].tensors[0]
    assert (part.rows, part.row_weights, part.weights) == (16, 27, 432)
    assert manifest().blocks[0].weights == 432
    assert len(list(manifest().blob_refs())) == 6


CORRUPTIONS: list[tuple[str, Any]] = [
    ("format", 3),
    ("model", "../etc"),
    ("version", 0),
    ("version", True),
    ("levels", [8, 4]),
    ("levels", []),
    ("rounding", ""),
    ("graph", ["00", 1, 1, "raw"]),
    ("graph", [sha256_hex(b""), 1, 2, "raw"]),
    ("graph", [sha256_hex(b""), 1, 2, "lzma"]),
    ("graph", [sha256_hex(b""), -1, -1, "raw"]),
    ("graph", [sha256_hex(b""), 10**12, 10**12, "raw"]),
    ("blocks", {}),
    ("blocks", [{}]),
    ("extra", 1),
]


@pytest.mark.parametrize(("key", "value"), CORRUPTIONS, ids=str)
def test_a_broken_field_is_refused(key: str, value: object) -> None:
    tree = json.loads(to_json(manifest()))
    tree[key] = value
    with pytest.raises(ManifestError):
        from_json(canonical_json(tree))


@pytest.mark.parametrize(("start", "stop"), [(0, 0), (5, 4), (0, 17), (-1, 3)])
def test_rows_outside_the_tensor_are_refused(start: int, stop: int) -> None:
    tree = json.loads(to_json(manifest()))
    tree["blocks"][0]["tensors"][0][2:] = [start, stop]
    with pytest.raises(ManifestError):
        from_json(canonical_json(tree))


def test_a_block_must_name_one_digest_of_codes_per_blob() -> None:
    tree = json.loads(to_json(manifest()))
    tree["blocks"][0]["blobs"].pop()
    with pytest.raises(ManifestError, match="1 to 3 each belong"):
        from_json(canonical_json(tree))


def test_bytes_that_are_not_canonical_are_refused() -> None:
    data = to_json(manifest())
    with pytest.raises(ManifestError, match="canonical"):
        from_json(data.replace(b",", b", ", 1))


@given(st.integers(0, len(to_json(manifest())) - 1), st.integers(1, 255))
def test_a_flipped_byte_never_passes_for_the_same_version(position: int, flip: int) -> None:
    data = bytearray(to_json(manifest()))
    data[position] ^= flip
    try:
        other = from_json(bytes(data))
    except ManifestError:
        return
    assert digest_of(other) != digest_of(manifest())


@given(st.binary(max_size=200))
def test_arbitrary_bytes_give_a_manifest_error_or_nothing_else(data: bytes) -> None:
    with pytest.raises(ManifestError):
        from_json(data)


def test_deeply_nested_json_is_refused_without_a_crash() -> None:
    with pytest.raises(ManifestError):
        from_json(b"[" * 100_000)


@pytest.mark.parametrize("name", ["\\ud800", "a\\nb", "\\u0000"])
def test_a_name_that_cannot_be_printed_is_refused(name: str) -> None:
    data = to_json(manifest()).replace(b"conv.bias", name.encode())
    with pytest.raises(ManifestError, match="printable"):
        from_json(data)
