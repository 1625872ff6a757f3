"""One version in detail, as tables or as JSON."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from nestfleet.v1 import catalog_pb2

from common.byte_sizes import format_bytes
from common.graph.inputs import shape_text
from common.graph.model import Graph, Input, Output
from common.manifest import Block, Manifest
from server.cli.output import print_line, print_table, printable, table
from server.cli.plain import plain
from server.cli.wording import count, level_list, percent, utc_time, version_name
from server.client.fleet import VersionDetail


def inspection_json(detail: VersionDetail, graph: Graph) -> dict[str, Any]:
    """All that is known of a version."""
    return {
        "version": plain(detail.version),
        "inputs": [_tensor_json(item) for item in graph.inputs],
        "outputs": [_tensor_json(item) for item in graph.outputs],
        "blocks": [_block_json(detail.manifest.levels, block) for block in detail.manifest.blocks],
    }


def print_inspection(detail: VersionDetail, graph: Graph, *, blocks: bool) -> None:
    """What an operator asks of a version; every block too, where asked for."""
    version = detail.version
    print_line(
        f"{version_name(version.ref)}: levels {level_list(version.levels)}, {printable(version.rounding)} "
        f"rounding, pushed {utc_time(version.created_unix_ms)} UTC"
    )
    print_line(
        f"{count(version.sizes.weights, 'quantized weight')} and {count(version.sizes.floats, 'float')} "
        f"in {count(version.blocks, 'block')}, {count(version.blobs, 'blob')}"
    )
    print_line(f"shards: {_shard_widths(detail.manifest)}")
    print_line(f"manifest {version.manifest_digest.hex()}\n")
    _print_sizes(version)
    _print_signature(graph)
    if blocks:
        _print_blocks(detail)


def _shard_widths(manifest: Manifest) -> str:
    """Bits per weight of each shard, e.g. ``3 bits to 6, 3 bits to 8``; what blocks differ in, as a range."""
    steps = [step for block in manifest.blocks for step in block.steps(manifest.levels)]
    texts = []
    for level in sorted({step.high for step in steps}):
        widths = sorted({step.shard_bits for step in steps if step.high == level})
        width = str(widths[0]) if len(widths) == 1 else f"{widths[0]} to {widths[-1]}"
        texts.append(f"{width} bits a weight to {level}")
    return ", ".join(texts) or "none"


def _print_sizes(version: catalog_pb2.Version) -> None:
    grid = table("SCHEME", ">SIZE", ">OF FP32")
    for name, size_bytes in _schemes(version):
        grid.add_row(name, format_bytes(size_bytes), percent(size_bytes, version.sizes.fp32_bytes))
    print_table(grid)
    print_line("")


def _schemes(version: catalog_pb2.Version) -> Iterator[tuple[str, int]]:
    sizes, levels = version.sizes, list(version.levels)
    shards_bytes = sum(shard.size_bytes for shard in sizes.shards)
    yield f"nested: base, {levels[0]} bits", sizes.base_bytes
    for shard in sizes.shards:
        yield f"  + shards to {shard.level} bits", shard.size_bytes
    yield "  + manifest, graph, self-test", sizes.metadata_bytes
    yield "  = in full", sizes.base_bytes + shards_bytes + sizes.metadata_bytes
    yield "one INT8 model", sizes.int8_bytes
    yield f"one model per level ({level_list(levels)})", sum(item.size_bytes for item in sizes.separate)
    if len(levels) > 1:
        yield "nested, packed as in the paper", sizes.paper_high_bytes + sizes.paper_low_bytes
    yield "32-bit floats", sizes.fp32_bytes


def _print_signature(graph: Graph) -> None:
    grid = table("TENSOR", "NAME", "TYPE", "SHAPE")
    for kind, items in (("input", graph.inputs), ("output", graph.outputs)):
        for item in items:
            grid.add_row(kind, printable(item.name), item.dtype, shape_text(item.shape))
    print_table(grid)


def _print_blocks(detail: VersionDetail) -> None:
    levels = detail.manifest.levels
    grid = table(">BLOCK", ">WEIGHTS", *(f">TO {level}" for level in levels), "HOLDS")
    for index, block in enumerate(detail.manifest.blocks):
        by_level = dict(zip(block.levels(levels), block.blobs, strict=True))
        sizes = [format_bytes(by_level[level].size_bytes) if level in by_level else "-" for level in levels]
        grid.add_row(str(index), f"{block.weights:,}", *sizes, _contents(block))
    print_line("")
    print_table(grid)


def _contents(block: Block) -> str:
    parts = [
        part.name if part.rows == part.shape[0] else f"{part.name}[{part.start}:{part.stop}]"
        for part in block.tensors
    ]
    rest = len(parts[1:]) + len(block.floats) + len(block.level_floats)
    if not parts:
        return count(rest, "float")
    return f"{printable(parts[0])} and {rest} more" if rest else printable(parts[0])


def _tensor_json(item: Input | Output) -> dict[str, Any]:
    return {"name": item.name, "dtype": item.dtype, "shape": list(item.shape)}


def _block_json(levels: tuple[int, ...], block: Block) -> dict[str, Any]:
    return {
        "weights": block.weights,
        "tensors": [
            {"name": part.name, "shape": list(part.shape), "start": part.start, "stop": part.stop}
            for part in block.tensors
        ],
        "floats": list(block.floats),
        "level_floats": list(block.level_floats),
        "blobs": [
            {"level": level, "digest": ref.digest, "size_bytes": ref.size_bytes, "coding": ref.coding}
            for level, ref in zip(block.levels(levels), block.blobs, strict=True)
        ],
        "shard_bits": [step.shard_bits for step in block.steps(levels)],
        "gains": list(block.gains),
    }
