"""A version that is loaded: proves itself, answers, and changes its levels while it does."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from common import self_test
from common.blob_codec import decode_bytes
from common.errors import IntegrityError, InvalidInputError, SelfTestError, UnsupportedModelError
from common.graph import codec
from common.graph.inputs import check_inputs
from common.graph.model import Graph, Input, Output
from common.manifest import Manifest
from device_agent.inference.answering import Answer, TensorSpec
from device_agent.inference.binding import check_binding
from device_agent.inference.integer.rules import Choices, KernelRules, NoChoices
from device_agent.inference.threads import sleep_while_waiting, work_alone
from device_agent.residency.background import for_each_thread, let_go
from device_agent.residency.block_loader import ReadBlob
from device_agent.residency.courtesy import REQUESTS
from device_agent.residency.pager import Pager, PageReport
from device_agent.residency.resident import Snapshot

if TYPE_CHECKING:
    from device_agent.inference.integer.kernels import Kernels
    from device_agent.inference.integer.measuring import Timings
    from device_agent.inference.runtime import Runtime


class ServedModel:
    """One version in memory; made by ``load``. Its methods may be called from any thread."""

    def __init__(  # noqa: PLR0917 - ``load`` makes it
        self,
        manifest: Manifest,
        graph: Graph,
        pager: Pager,
        runtime: Runtime,
        kernels: Kernels,
        read: ReadBlob,
    ) -> None:
        self.manifest = manifest
        self.inputs = tuple(_spec(item) for item in graph.inputs)
        self.outputs = tuple(_spec(item) for item in graph.outputs)
        self._graph = graph
        self._pager = pager
        self._runtime = runtime
        self._kernels = kernels
        self._read = read
        self._memory_bytes = 0
        self._unpacked: frozenset[str] = frozenset()
        self._checked: Mapping[str, object] | None = None
        self._changing = threading.RLock()

    @classmethod
    def load(
        cls,
        manifest: Manifest,
        read: ReadBlob,
        levels: Sequence[int],
        *,
        rules: KernelRules = KernelRules(),  # noqa: B008 - frozen
        choices: Choices = NoChoices(),  # noqa: B008 - without state
    ) -> ServedModel:
        """The version with each block at its level, everything verified on the way. Blocks.

        Args:
            manifest: The version.
            read: Digest to a blob's wire bytes on this device; kept for later changes of level.
            levels: One per block.
            rules: How it may use integer kernels, once ``set_memory`` gives it room for them.
            choices: Remembers which layers they are faster at.

        Raises:
            ConfigError: The engine of the rules is not here.
            IntegrityError: A blob is damaged, or the version's parts do not belong together.
            UnsupportedModelError: The graph uses what this agent cannot run.
        """
        sleep_while_waiting()
        # torch takes a second to import, and all of these need it
        from device_agent.inference.integer.kernels import Kernels  # noqa: PLC0415
        from device_agent.inference.runtime import Runtime  # noqa: PLC0415

        for_each_thread(work_alone)
        graph = _graph(manifest, read)
        kernels = Kernels(manifest, graph, rules, choices)
        runtime = Runtime(graph, kernels.plan, kernels.engine)
        pager = Pager(manifest, read, levels, prepare=kernels.executor.prepare)
        check_binding(graph, pager.snapshot)
        return cls(manifest, graph, pager, runtime, kernels, read)

    @property
    def name(self) -> str:
        """The model's name."""
        return self.manifest.model

    @property
    def version(self) -> int:
        """The version's number."""
        return self.manifest.version

    @property
    def levels(self) -> tuple[int, ...]:
        """The level of each block; a block without quantized tensors is at the version's lowest."""
        return self._pager.levels

    @property
    def level(self) -> int:
        """Lowest level of any block with quantized tensors."""
        return self._pager.snapshot.level

    @property
    def resident_bytes(self) -> int:
        """Memory that the weights take."""
        return self._pager.snapshot.size_bytes

    @property
    def loaded_digest(self) -> str:
        """Names the codes that are loaded: SHA-256 over the blocks' raw codes digests, 64 hex digits."""
        return self._pager.snapshot.loaded_digest

    @property
    def kernel_layers(self) -> int:
        """How many layers run on integer kernels now."""
        return len(self._pager.snapshot.prepared)

    def prove(self) -> int:
        """Run the version's self-test, all blocks at the lowest level that any has now.

        It is floats that have to pass it. What kernels answer is held against them: where they are too far
        off, the version runs in floats from now on.

        Returns:
            That level.

        Raises:
            SelfTestError: The version does not answer as it should.
            IntegrityError: The self-test itself is damaged.
        """
        test, arrays = self._self_test()
        snapshot = self._pager.snapshot
        level = snapshot.level
        self_test.check(test, level, self._runtime.run_in_floats(snapshot, arrays, highest_level=level))
        self._check_kernels(test, arrays)
        return level

    def set_levels(self, levels: Sequence[int]) -> PageReport:
        """Page shards in and out, block by block, while requests go on. Blocks.

        Raises:
            IntegrityError: A shard is damaged; every block is whole, and at its old level where that is
                possible.
        """
        with self._changing:
            allowed = self._kernels.unpacked(levels, self._memory_bytes)
            if not allowed >= self._unpacked:
                self._set_unpacked(self._unpacked & allowed)
            report = self._pager.set_levels(levels)
            self._set_unpacked(allowed)
            return report

    def set_memory(self, memory_bytes: int) -> None:
        """Memory that its weights may take at most; see ``device_agent.update.served``. Blocks."""
        with self._changing:
            self._memory_bytes = memory_bytes
            self._set_unpacked(self._kernels.unpacked(self.levels, memory_bytes))
            if self._unpacked:
                self._kernels.choose(self._sample, self._pager.renew)
                prepared = self._pager.snapshot.prepared
                if prepared and prepared is not self._checked:
                    self._check_kernels(*self._self_test())

    def _set_unpacked(self, names: frozenset[str]) -> None:
        if names != self._unpacked:
            self._pager.set_unpacked(names)
            self._unpacked = names

    def _sample(self) -> Callable[[Timings], tuple[NDArray[Any], ...]]:
        """What answers one sample of the self-test, on kernels as far as they are ready."""
        _, arrays = self._self_test()
        sample = [array[:1] for array in arrays]
        return lambda timings: self._runtime.run(self._pager.snapshot, sample, timing=timings.note)

    def _check_kernels(self, test: self_test.SelfTest, arrays: Sequence[NDArray[Any]]) -> None:
        """Hold what kernels answer against floats; where they are too far off, none run any more."""
        snapshot = self._pager.snapshot
        if not snapshot.prepared:
            return
        integers = self._runtime.run(snapshot, arrays)
        if not self._kernels.will_do(test, integers, self._runtime.run_in_floats(snapshot, arrays)):
            self._pager.renew()
        self._checked = snapshot.prepared

    def _self_test(self) -> tuple[self_test.SelfTest, list[NDArray[Any]]]:
        """The self-test, and its inputs as the graph takes them.

        Raises:
            SelfTestError: Its inputs are not the model's.
            IntegrityError: It is damaged.
        """
        ref = self.manifest.self_test
        test = self_test.decode(self._read(ref.digest), ref, self.manifest.levels)
        names = [item.name for item in self._graph.inputs]
        try:
            return test, list(check_inputs(self._graph, dict(zip(names, test.inputs, strict=True))))
        except (InvalidInputError, ValueError) as error:
            raise SelfTestError(f"The self-test's inputs are not the model's: {error}") from error

    def infer(self, inputs: Mapping[str, NDArray[Any]]) -> Answer:
        """The answer to some inputs, all of it from one state of the weights. Blocks.

        Raises:
            InvalidInputError: Names, shapes or types are not the model's.
        """
        arrays = check_inputs(self._graph, inputs)
        held: list[Snapshot] = [self._pager.snapshot]
        with REQUESTS.answering():
            outputs = self._runtime.run(held[0], arrays)
        level = held[0].level
        if held[0] is not self._pager.snapshot:
            let_go(held)  # this may be the last request that reads what was paged out
        names = [spec.name for spec in self.outputs]
        return Answer(dict(zip(names, outputs, strict=True)), level)


def _graph(manifest: Manifest, read: ReadBlob) -> Graph:
    data = decode_bytes(read(manifest.graph.digest), manifest.graph)
    try:
        return codec.from_json(data)
    except UnsupportedModelError:
        raise
    except InvalidInputError as error:
        raise IntegrityError(f"The version's graph is not valid: {error.message}") from error


def _spec(item: Input | Output) -> TensorSpec:
    dtype = np.dtype(np.float32 if item.dtype == "bfloat16" else item.dtype)
    return TensorSpec(item.name, dtype, item.shape)
