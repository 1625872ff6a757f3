"""The product: what an agent loads and asks, without the agent."""

from __future__ import annotations

import math
from typing import Any, Final

from numpy.typing import NDArray

from benchmarks.inference.files.layout import MANIFEST_FILE, Files
from benchmarks.inference.runtimes.runtime import Infer
from common.manifest import from_json
from device_agent.inference.integer.rules import KernelRules
from device_agent.inference.served import ServedModel
from device_agent.inference.threads import limit_threads

_PLENTY_BYTES: Final = 1 << 40
# Random weights blow up any error, ONNX Runtime's as ours: what they answer is no reason to take floats.
_RULES: Final = KernelRules(tolerance=math.inf)


class Nestfleet:
    """Threads are set as the agent sets them."""

    def __init__(self, threads: int) -> None:
        limit_threads(threads)
        # Loading a model would import it; memory of an import is the idle process'.
        from device_agent.inference.runtime import Runtime  # noqa: F401, PLC0415

    def load(self, files: Files, level: int | None) -> Infer:
        """As ``Runtime``; verified on the way, as on a board."""
        assert level is not None
        manifest = from_json((files.version / MANIFEST_FILE).read_bytes())
        served = ServedModel.load(
            manifest,
            lambda digest: (files.version / digest).read_bytes(),
            [level] * len(manifest.blocks),
            rules=_RULES,
        )
        served.set_memory(_PLENTY_BYTES)
        first = served.outputs[0].name

        def infer(inputs: dict[str, NDArray[Any]]) -> NDArray[Any]:
            return served.infer(inputs).outputs[first]

        return infer
