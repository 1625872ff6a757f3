"""The model as a version on a board's disk: the manifest, and each blob under its digest."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from benchmarks.inference.files.floats import Floats
from benchmarks.inference.files.kept import digest_of, kept
from benchmarks.inference.files.layout import MANIFEST_FILE
from benchmarks.inference.nets.net import Net
from benchmarks.quantize.tasks.task import Task
from benchmarks.update.version import make_version
from common.manifest import to_json
from server.export import export_model

_EXAMPLES: Final = 2
_SOURCES: Final = (
    "server/quantize",
    "server/export",
    "common",
    "benchmarks/inference/files/version_files.py",
    "benchmarks/update/version.py",
)


def make_version_files(floats: Floats) -> Path:
    """Its folder, made where it is not there."""
    digest = digest_of(_SOURCES, ["torch"])
    return kept(
        "version",
        floats.name,
        f"{floats.digest[:6]}{digest[:6]}",
        lambda folder: _write(floats.name, floats.net(), folder),
    )


def _write(name: str, net: Net, folder: Path) -> None:
    exported = export_model(net.module, {key: tensor[:_EXAMPLES] for key, tensor in net.inputs.items()})
    inputs = [item.name for item in exported.graph.inputs]
    assert inputs == list(net.inputs), f"the graph takes {inputs}"
    version = make_version(Task(name, exported, tuple(net.calibration.values())), None)
    (folder / MANIFEST_FILE).write_bytes(to_json(version.manifest))
    for digest, data in version.blobs.items():
        (folder / digest).write_bytes(data)
