"""A version that is loaded: proves itself, answers, and changes its levels while it does."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
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
from device_agent.inference.threads import sleep_while_waiting
from device_agent.residency.background import let_go
from device_agent.residency.block_loader import ReadBlob
from device_agent.residency.courtesy import REQUESTS
from device_agent.residency.pager import Pager, PageReport
from device_agent.residency.resident import Snapshot

if TYPE_CHECKING:
    from device_agent.inference.runtime import Runtime


class ServedModel:
    """One version in memory; made by ``load``. Its methods may be called from any thread."""

    def __init__(
        self, manifest: Manifest, graph: Graph, pager: Pager, runtime: Runtime, read: ReadBlob
    ) -> None:
        self.manifest = manifest
        self.inputs = tuple(_spec(item) for item in graph.inputs)
        self.outputs = tuple(_spec(item) for item in graph.outputs)
        self._graph = graph
        self._pager = pager
        self._runtime = runtime
        self._read = read

    @classmethod
    def load(cls, manifest: Manifest, read: ReadBlob, levels: Sequence[int]) -> ServedModel:
        """The version with each block at its level, everything verified on the way. Blocks.

        Args:
            manifest: The version.
            read: Digest to a blob's wire bytes on this device; kept for later changes of level.
            levels: One per block.

        Raises:
            IntegrityError: A blob is damaged, or the version's parts do not belong together.
            UnsupportedModelError: The graph uses what this agent cannot run.
        """
        sleep_while_waiting()
        from device_agent.inference.runtime import Runtime  # noqa: PLC0415  torch takes a second to import

        graph = _graph(manifest, read)
        runtime = Runtime(graph)
        pager = Pager(manifest, read, levels)
        check_binding(graph, pager.snapshot)
        return cls(manifest, graph, pager, runtime, read)

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

    def prove(self) -> int:
        """Run the version's self-test, all blocks at the lowest level that any has now.

        Returns:
            That level.

        Raises:
            SelfTestError: The version does not answer as it should.
            IntegrityError: The self-test itself is damaged.
        """
        test = self_test.decode(
            self._read(self.manifest.self_test.digest), self.manifest.self_test, self.manifest.levels
        )
        snapshot = self._pager.snapshot
        level = snapshot.level
        names = [item.name for item in self._graph.inputs]
        try:
            arrays = check_inputs(self._graph, dict(zip(names, test.inputs, strict=True)))
        except (InvalidInputError, ValueError) as error:
            raise SelfTestError(f"The self-test's inputs are not the model's: {error}") from error
        outputs = self._runtime.run(snapshot, arrays, highest_level=level)
        self_test.check(test, level, outputs)
        return level

    def set_levels(self, levels: Sequence[int]) -> PageReport:
        """Page shards in and out, block by block, while requests go on. Blocks.

        Raises:
            IntegrityError: A shard is damaged; every block is whole, at its old or its new level.
        """
        return self._pager.set_levels(levels)

    def set_memory(self, memory_bytes: int) -> None:
        """Memory that its weights may take at most; see ``device_agent.update.served``."""

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
