"""Where a model lies in each runtime's form; imports no runtime."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

INPUTS_FILE: Final = "inputs.safetensors"
FLOAT_ONNX_FILE: Final = "float32.onnx"
INT8_ONNX_FILE: Final = "int8.onnx"
MANIFEST_FILE: Final = "manifest.json"


@dataclass(frozen=True, slots=True)
class Files:
    """Folders with one model.

    Attributes:
        floats: The float model, with ``INPUTS_FILE``: what it is measured on.
        onnx: Both ONNX files.
        version: ``MANIFEST_FILE``, and blobs under their digests.
    """

    floats: Path
    onnx: Path
    version: Path

    def warm(self) -> None:
        """All of them are in the page cache."""
        for folder in (self.floats, self.onnx, self.version):
            for file in folder.iterdir():
                file.read_bytes()
