"""One version's use of integer kernels: which layers run on them, and whether what they answer will do."""

from __future__ import annotations

import hashlib
import logging
import platform
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Any, TypeAlias

import torch
from numpy.typing import NDArray

from common.graph import codec
from common.graph.model import Graph
from common.manifest import Manifest
from common.self_test import SelfTest, agreement, norm_apart, share_apart
from device_agent.inference.integer.affordable import affordable
from device_agent.inference.integer.engines.choice import choose_engine
from device_agent.inference.integer.executor import Executor
from device_agent.inference.integer.measuring import Timings, faster, measured
from device_agent.inference.integer.plan import make_plan
from device_agent.inference.integer.rules import Choices, KernelRules
from device_agent.residency.policy import total_bytes

_log = logging.getLogger(__name__)

Outputs: TypeAlias = "tuple[NDArray[Any], ...]"
Run: TypeAlias = Callable[[Timings], Outputs]


class Kernels:
    """Decides for one version.

    Args:
        manifest: The version.
        graph: Its computation.
        rules: What somebody set.
        choices: What was measured before.

    Attributes:
        plan: What kernels could do.
        engine: Does it; None where there is none.
        executor: Makes kernels of weights.

    Raises:
        ConfigError: The engine that was set is not here.
    """

    def __init__(self, manifest: Manifest, graph: Graph, rules: KernelRules, choices: Choices) -> None:
        self._manifest = manifest
        self._graph = graph
        self._rules = rules
        self._choices = choices
        self._refused = False
        self._chosen: Mapping[str, bool] | None = None
        quantized = {part.name for block in manifest.blocks for part in block.tensors}
        self.plan = make_plan(graph, quantized)
        self.engine = None if rules.mode == "float" else choose_engine(rules.engine)
        self.executor = Executor(self.plan, self.engine, exact=rules.mode == "exact")
        looked_up = set(self.plan.lookups.values())
        self._others = [name for name in sorted(quantized - looked_up) if name not in self.plan.weights]

    @property
    def running(self) -> Collection[str]:
        """Weights whose layers run on kernels, as far as memory allows."""
        return self.executor.ready

    def unpacked(self, levels: Sequence[int], memory_bytes: int) -> frozenset[str]:
        """Tensors to hold as bytes within a memory limit: those of kernels first."""
        spare_bytes = memory_bytes - total_bytes(self._manifest, levels)
        return affordable(self._manifest, levels, self._wanted(), spare_bytes)

    def choose(self, sample: Callable[[], Run], renew: Callable[[], None]) -> None:
        """Settle once which layers run on kernels: what was found before, else what a measurement says.

        Args:
            sample: Gives what answers one sample, on kernels as far as they are ready, and notes how long
                each layer took; not asked where all is settled.
            renew: Has the executor look at all weights again.
        """
        if self._chosen is not None or self.engine is None or self._refused:
            return
        run = sample()
        weights = self.plan.weights
        key = self._key()
        known = self._choices.get(key) if self._rules.mode == "auto" else dict.fromkeys(weights, True)
        if known is not None and set(known) == set(weights):
            shapes = measured(run, repeats=1).shapes
            self.executor.sources.update(shapes)
            self._take(known)
            renew()
            return
        floats = measured(run)
        self.executor.sources.update(floats.shapes)
        self._take(dict.fromkeys(weights, True))
        renew()
        integers = measured(run)
        found = dict.fromkeys(weights, False) | dict(faster(integers, floats))
        self._choices.put(key, found)
        self._take(found)
        renew()
        _log.info(
            "%d of %d layers run on the kernels of %s", sum(found.values()), len(found), self.engine.name
        )

    def will_do(self, test: SelfTest, integers: Outputs, floats: Outputs) -> bool:
        """Whether what kernels answer to the self-test is near to floats; if not, none run any more."""
        error = max((_error(one, other) for one, other in zip(integers, floats, strict=True)), default=0.0)
        hit = agreement(test, integers)
        if error <= self._rules.tolerance and (hit is None or hit >= test.min_agreement):
            return True
        _log.warning(
            "%s:%d runs in floats: integer kernels would be off by %.2g, and %.2g is allowed%s",
            self._manifest.model,
            self._manifest.version,
            error,
            self._rules.tolerance,
            "" if hit is None else f"; they hit {hit:.2f} of the labels",
        )
        self._refused = True
        self.executor.ready = frozenset()
        return False

    def _take(self, faster_ones: Mapping[str, bool]) -> None:
        self._chosen = faster_ones
        self.executor.ready = frozenset(name for name, is_faster in faster_ones.items() if is_faster)

    def _wanted(self) -> Iterator[tuple[str, int]]:
        """Tensors with their bytes for a weight, the most worthwhile first: kernels, in the graph's order."""
        ready = self.executor.ready if self._chosen is not None else frozenset(self.plan.weights)
        of_kernels = self.engine.bytes_per_weight if self.engine else 1
        yield from ((name, of_kernels) for name in self.plan.weights if name in ready)
        yield from ((name, 1) for name in self.plan.weights if name not in ready)
        yield from ((name, 1) for name in self._others)

    def _key(self) -> str:
        """Names what the measurement depends on; 64 hex digits."""
        engine = self.engine.name if self.engine else ""
        shape = repr((self._manifest.levels, engine, torch.__version__, torch.get_num_threads()))
        machine = f"{platform.machine()} {_processor()}"
        return hashlib.sha256(
            b"\n".join((codec.to_json(self._graph), shape.encode(), machine.encode()))
        ).hexdigest()


def _processor() -> str:
    try:
        with open("/proc/cpuinfo", encoding="utf-8", errors="replace") as file:  # noqa: PTH123
            return next((line for line in file if line.startswith(("model name", "CPU part"))), "")
    except OSError:
        return platform.processor()


def _error(actual: NDArray[Any], wanted: NDArray[Any]) -> float:
    """How far an output is from another: as a part of its norm, or the share of whole numbers that differ."""
    return norm_apart(actual, wanted) if wanted.dtype.kind == "f" else share_apart(actual, wanted)
