"""A model in every runtime's form."""

from __future__ import annotations

from collections.abc import Callable

from benchmarks.inference.files.floats import make_floats
from benchmarks.inference.files.layout import Files
from benchmarks.inference.files.onnx_files import make_onnx
from benchmarks.inference.files.version_files import make_version_files
from benchmarks.inference.nets.net import Net


def make_files(name: str, make: Callable[[], Net], say: Callable[[str], None]) -> Files:
    """All forms, each made where it is not there yet."""
    say(f"{name}: float model")
    floats = make_floats(name, make)
    say(f"{name}: ONNX files")
    onnx = make_onnx(floats)
    say(f"{name}: version")
    return Files(floats.folder, onnx, make_version_files(floats))
