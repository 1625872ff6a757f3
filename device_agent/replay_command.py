"""``nestfleet-agent replay``: what the residency policy would have made of a recorded day, in seconds."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Final

import zstandard

from common.blob_codec import decompress
from common.byte_sizes import format_bytes, parse_bytes
from common.errors import ConfigError, InvalidInputError
from common.manifest import Manifest, from_json
from device_agent.replay.made_up import made_up_version
from device_agent.replay.picture import draw
from device_agent.replay.simulation import simulate
from device_agent.replay.solar_day import solar_day
from device_agent.replay.summary import format_summary, summarize, to_tree
from device_agent.replay.trace import Look, read_trace
from device_agent.residency.configured import residency_rules
from device_agent.residency.policy import total_bytes
from device_agent.settings import Settings

_LINK_BYTES_PER_SECOND: Final = 256 * 1024
_MAX_MANIFEST_BYTES: Final = 64 * 1024 * 1024
_ZSTD: Final = b"\x28\xb5\x2f\xfd"


def add_replay(parser: argparse.ArgumentParser) -> None:
    """The command's own flags."""
    parser.add_argument("trace", nargs="?", type=Path, metavar="TRACE", help="what `trace --record` wrote")
    parser.add_argument("--solar-day", action="store_true", help="a made-up day of a solar-powered camera")
    parser.add_argument("--seed", type=int, default=0, metavar="NUMBER", help="of the made-up day")
    parser.add_argument("--manifest", type=Path, metavar="FILE", help="of the version, as a store holds it")
    parser.add_argument("--model-size", metavar="SIZE", help="a made-up version of so many 8-bit weights")
    parser.add_argument("--plot", type=Path, metavar="FILE.png", help="draw level, memory, battery and bytes")
    parser.add_argument("--json", action="store_true", help="print JSON")


def run_replay(settings: Settings, said: argparse.Namespace) -> None:
    """Play the trace, and say what came of it.

    Raises:
        ConfigError: What is to be played, or with which version, is not said; or drawing does not work.
        InvalidInputError: Trace or manifest is none.
    """
    looks, name = _looks(said)
    manifest = _version(said)
    rules = residency_rules(settings, metered_rule=settings.metered_rule)
    rate = settings.download_limit_bytes_per_second or _LINK_BYTES_PER_SECOND
    moments = list(simulate(looks, manifest, rules, download_bytes_per_second=rate))
    summary = summarize(moments, total_bytes(manifest, manifest.base_levels()))
    if said.plot is not None:
        draw(moments, said.plot, f"{name}: {manifest.model}, {format_bytes(_full_bytes(manifest))} in full")
    sys.stdout.write(json.dumps(to_tree(summary)) + "\n" if said.json else format_summary(summary))


def _looks(said: argparse.Namespace) -> tuple[list[Look], str]:
    if (said.trace is None) is not said.solar_day:
        raise ConfigError("What shall be played?", advice="Name one trace, or take --solar-day.")
    if said.trace is None:
        return list(solar_day(said.seed)), "A solar day"
    return read_trace(said.trace), said.trace.name


def _version(said: argparse.Namespace) -> Manifest:
    if (said.manifest is None) is (said.model_size is None):
        raise ConfigError("With which version?", advice="Take one of --manifest FILE and --model-size SIZE.")
    if said.manifest is None:
        return made_up_version(parse_bytes(said.model_size))
    try:
        with said.manifest.open("rb") as file:
            data = file.read(_MAX_MANIFEST_BYTES + 1)
    except OSError as error:
        raise InvalidInputError(f"The manifest {said.manifest} cannot be read: {error.strerror}.") from error
    if len(data) > _MAX_MANIFEST_BYTES:
        raise InvalidInputError(f"{said.manifest} is too large for a manifest.")
    return from_json(_unpacked(data) if data.startswith(_ZSTD) else data)


def _unpacked(frame: bytes) -> bytes:
    """A manifest as it lies in a store: a frame that says how long its content is."""
    try:
        size_bytes = zstandard.get_frame_parameters(frame).content_size
    except zstandard.ZstdError as error:
        raise InvalidInputError(f"The manifest is a damaged frame: {error}.") from error
    if size_bytes > _MAX_MANIFEST_BYTES:
        raise InvalidInputError("The frame holds no manifest, or one that is too large.")
    return decompress(frame, size_bytes)


def _full_bytes(manifest: Manifest) -> int:
    return total_bytes(manifest, manifest.nearest(manifest.levels[-1]))
