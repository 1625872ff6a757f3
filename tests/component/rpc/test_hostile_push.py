"""Pushes that no client of ours would send: each is refused with a reason, and the server serves on."""

from __future__ import annotations

import copy
import json
import struct
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import grpc
import pytest
import zstandard
from nestfleet.v1 import publish_pb2

from common.manifest import canonical_json
from common.rpc_status import CODE_KEY
from tests.support.pushes import (
    CALIBRATION,
    EVALUATION,
    GRAPH,
    WEIGHTS,
    Parts,
    chunks_of,
    header_for,
    push,
    responses,
    tiny_parts,
)
from tests.support.server import RunningServer, running_server

# A graph as it is written: inputs, states, nodes, outputs.
Tree = dict[str, Any]
OP, ARGS = 1, 3


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[RunningServer]:
    async with running_server(tmp_path) as server:
        yield server
        await push(server.addresses.grpc)
        assert list((tmp_path / "incoming").iterdir()) == []


async def _refusal(server: RunningServer, parts: Parts, **fields: Any) -> tuple[str, str]:
    with pytest.raises(grpc.RpcError) as caught:
        await responses(server.addresses.grpc, header_for(parts, **fields), *chunks_of(parts))
    error: Any = caught.value
    return dict(error.trailing_metadata() or ())[CODE_KEY], error.details()


def _forbidden(tree: Tree) -> None:
    tree["nodes"][0][OP] = "aten.from_file.default"


def _another_module(tree: Tree) -> None:
    tree["nodes"][0][OP] = "builtins.eval"


def _missing_argument(tree: Tree) -> None:
    tree["nodes"][-1][ARGS] = tree["nodes"][-1][ARGS][:1]


def _other_weight(tree: Tree) -> None:
    tree["nodes"][-1][ARGS][1] = tree["nodes"][-3][ARGS][1]


def _more_memory_than_there_is(tree: Tree) -> None:
    last = tree["outputs"][0][1]
    tree["nodes"].append(["large", "aten.repeat.default", "", [last, [1 << 44, 1]], {}])
    tree["outputs"][0][1] = "%large"


def _too_many_nodes(tree: Tree) -> None:
    last = tree["outputs"][0][1]
    tree["nodes"] += [[f"more{n}", "aten.relu.default", "", [last], {}] for n in range(100_001)]


def _other_answer(tree: Tree) -> None:
    tree["outputs"][0][3] = [None, 11]


@pytest.mark.parametrize(
    ("change", "code", "why"),
    [
        (_forbidden, "unsupported_model", "'aten.from_file.default' in"),
        (_another_module, "unsupported_model", "'builtins.eval' in"),
        (_missing_argument, "unsupported_model", "missing value for argument"),
        (_other_weight, "unsupported_model", "cannot be multiplied"),
        (_more_memory_than_there_is, "capacity", "'aten.repeat.default' in"),
        (_too_many_nodes, "invalid_input", "at most 100000"),
        (_other_answer, "invalid_input", "float32 [4, 10] where the graph states float32 [batch, 11]"),
    ],
)
async def test_a_hostile_graph(
    server: RunningServer, change: Callable[[Tree], None], code: str, why: str
) -> None:
    parts = tiny_parts()
    tree = copy.deepcopy(json.loads(zstandard.ZstdDecompressor().decompress(parts[GRAPH])))
    change(tree)
    graph = zstandard.ZstdCompressor().compress(canonical_json(tree))
    told, message = await _refusal(server, {**parts, GRAPH: graph})
    assert told == code
    assert why in message


def _stating(dtype: str, shape: list[int], size_bytes: int) -> bytes:
    """A safetensors file with one input that says so of itself."""
    tensor = {"dtype": dtype, "shape": shape, "data_offsets": [0, size_bytes]}
    header = json.dumps({"input/0": tensor}).encode()
    return struct.pack("<Q", len(header)) + header + bytes(size_bytes)


async def test_headers_that_lie(server: RunningServer) -> None:
    parts = tiny_parts()
    bomb = zstandard.ZstdCompressor().compress(bytes(1 << 27))
    pickled = b"\x80\x04cos\nsystem\n(S'false'\ntR."
    cases: list[tuple[Parts, dict[str, Any], str]] = [
        (parts, {"levels": (4,) * 100_000}, "100000 levels"),
        (parts, {"graph_size_bytes": (1 << 64) - 1}, "this server takes"),
        (parts, {"calibration_size_bytes": (1 << 64) - 1}, "this server takes"),
        (parts, {"evaluation_size_bytes": 1}, "ended after"),
        (parts, {"pins": [publish_pb2.Pin(pattern="*", level=8)] * 300_000}, "256 of 512 characters"),
        (parts, {"pins": [publish_pb2.Pin(pattern="*" * (1 << 20), level=8)]}, "256 of 512 characters"),
        ({**parts, CALIBRATION: struct.pack("<Q", 1 << 62) + b"{}"}, {}, "header too large"),
        ({**parts, EVALUATION: _stating("F32", [1 << 62, 1 << 62], 4)}, {}, "no safetensors file"),
        ({**parts, EVALUATION: _stating("BF16", [1], 2)}, {}, "no safetensors file"),
        ({**parts, GRAPH: bomb}, {}, "more than"),
        ({**parts, WEIGHTS: struct.pack("<Q", 1 << 62) + b"{}"}, {}, "header too large"),
        ({**parts, WEIGHTS: parts[WEIGHTS][:-1]}, {}, "not fully covered"),
        ({**parts, WEIGHTS: pickled}, {}, "no safetensors file"),
    ]
    for hostile, fields, why in cases:
        _, message = await _refusal(server, hostile, **fields)
        assert why in message
