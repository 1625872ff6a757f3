"""What an operator sees of the blocks of a version."""

from __future__ import annotations

from dataclasses import replace

import pytest
from nestfleet.v1 import catalog_pb2

from common.graph.model import Graph
from server.cli.inspection import inspection_json, print_inspection
from server.client.fleet import VersionDetail
from tests.support.factories import blob_ref, manifest

GRAPH = Graph((), (), (), ())


def detail() -> VersionDetail:
    """Blocks with a base at 4, at 6 (its shard wide, its floats of each level) and at 8 bits, and floats."""
    made = manifest("net", 1)
    whole = made.blocks[0]
    at_6 = replace(
        whole,
        blobs=(blob_ref("6" * 60), blob_ref("68" * 40)),
        digests=whole.digests[1:],
        shard_bits=(3,),
        level_floats=("bias",),
        gains=(1234,),
    )
    at_8 = replace(whole, blobs=(blob_ref("8" * 88),), digests=whole.digests[2:])
    floats = replace(whole, tensors=(), floats=("norm",), blobs=whole.blobs[:1], digests=("0" * 64,))
    blocks = (whole, at_6, at_8, floats)
    return VersionDetail(catalog_pb2.Version(levels=[4, 6, 8]), replace(made, blocks=blocks))


def test_each_blob_stands_below_the_level_that_it_reaches(capsys: pytest.CaptureFixture[str]) -> None:
    print_inspection(detail(), GRAPH, blocks=True)
    out = capsys.readouterr().out
    rows = [line.split() for line in out[out.index("BLOCK") :].splitlines()]
    assert rows[0] == ["BLOCK", "WEIGHTS", "TO", "4", "TO", "6", "TO", "8", "HOLDS"]
    assert [row[:8] for row in rows[2:6]] == [
        ["0", "16", "4", "B", "3", "B", "5", "B"],
        ["1", "16", "-", "60", "B", "80", "B", "weight"],
        ["2", "16", "-", "-", "88", "B", "weight"],
        ["3", "0", "4", "B", "-", "-", "1", "float"],
    ]
    assert "shards: 2 bits a weight to 6, 2 to 3 bits a weight to 8" in out


def test_the_json_tells_levels_floats_and_gains_of_each_block() -> None:
    blocks = inspection_json(detail(), GRAPH)["blocks"]
    assert [[blob["level"] for blob in block["blobs"]] for block in blocks] == [[4, 6, 8], [6, 8], [8], [4]]
    assert [block["shard_bits"] for block in blocks] == [[2, 2], [3], [], []]
    assert [block["level_floats"] for block in blocks] == [[], ["bias"], [], []]
    assert [block["gains"] for block in blocks] == [[], [1234], [], []]
