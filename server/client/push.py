"""Publishing a model: export, write the parts, stream them to the server."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from nestfleet.v1 import catalog_pb2

from server.client.connection import DEFAULT_SERVER, Connection
from server.client.publication import Acceptance, Arrays, Publication
from server.client.samples import write_samples
from server.client.upload import Parts, Progress, upload

if TYPE_CHECKING:
    from torch import nn

    from server.client.saved import SavedModel
    from server.export import Exported


def push(
    model: nn.Module,
    example_inputs: Arrays,
    *,
    name: str,
    levels: Sequence[int] = (4, 6, 8),
    rounding: str = "floor",
    refit: bool = False,
    server: str = DEFAULT_SERVER,
    self_test: tuple[Arrays, Any] | None = None,
    min_agreement: float = 0.0,
    on_progress: Progress | None = None,
) -> catalog_pb2.Version:
    """Publish a model as the next version of ``name``.

    Args:
        model: Run in evaluation mode.
        example_inputs: Tensors as the model is called with, in order or by keyword; axis 0 is the batch.
        name: The model's name in the registry.
        levels: Ascending bit-widths within 2..8.
        rounding: Rounding mode: "floor", or "adaptive" as in the NestQuant paper.
        refit: Whether part-bit levels get refitted scales and offsets; "floor" always does it.
        server: ``HOST:PORT``.
        self_test: Inputs and integer labels [samples]; a device must give them the first output's highest
            value. At most 64 samples. None: the example inputs, without labels.
        min_agreement: Least share of the labels that a device must hit, 0..1.
        on_progress: Called with the step, what is done of it, and the whole of it.

    Returns:
        The version as the registry knows it.

    Raises:
        InvalidInputError: An argument or the model is not what can be delivered.
        LinkError: The server cannot be reached.
        Error: What the server refused the model for.
    """
    acceptance = Acceptance(self_test[0], np.asarray(self_test[1], np.int64)) if self_test else None
    publication = Publication(name, levels, rounding, acceptance, min_agreement, refit=refit)
    return push_model(lambda: (model, example_inputs), publication, server=server, on_progress=on_progress)


def push_model(
    make: Callable[[], tuple[nn.Module, Arrays]],
    publication: Publication,
    *,
    server: str = DEFAULT_SERVER,
    on_progress: Progress | None = None,
) -> catalog_pb2.Version:
    """Publish what ``make`` returns: a model with its example inputs.

    ``make`` is called once the server has answered, so that no work is done in vain. Raises as ``push`` does.
    """
    from server.export import export_model  # noqa: PLC0415 - torch takes a second to import

    progress = on_progress or _silent
    with Connection(server) as connection:
        connection.check()
        progress("export", 0, 1)
        exported = export_model(*make())
        progress("export", 1, 1)
        return _push_exported(connection, exported, publication, progress)


def push_exported(
    exported: Exported,
    publication: Publication,
    *,
    server: str = DEFAULT_SERVER,
    on_progress: Progress | None = None,
) -> catalog_pb2.Version:
    """Publish an exported model. Raises as ``push`` does."""
    with Connection(server) as connection:
        connection.check()
        return _push_exported(connection, exported, publication, on_progress or _silent)


def push_folder(
    folder: Path,
    publication: Publication,
    *,
    server: str = DEFAULT_SERVER,
    on_progress: Progress | None = None,
) -> catalog_pb2.Version:
    """Publish what ``nestfleet export`` wrote to a folder. Raises as ``push`` does."""
    from server.client.saved import read_saved  # noqa: PLC0415 - as above

    saved = read_saved(folder)
    with Connection(server) as connection:
        connection.check()
        return _send(connection, publication, saved, on_progress or _silent)


def _push_exported(
    connection: Connection, exported: Exported, publication: Publication, progress: Progress
) -> catalog_pb2.Version:
    from server.client.saved import read_saved  # noqa: PLC0415 - as above
    from server.export import save_exported  # noqa: PLC0415 - as above

    with tempfile.TemporaryDirectory(prefix="nestfleet-push-") as folder:
        save_exported(exported, Path(folder))
        return _send(connection, publication, read_saved(Path(folder)), progress)


def _send(
    connection: Connection, publication: Publication, saved: SavedModel, progress: Progress
) -> catalog_pb2.Version:
    with tempfile.TemporaryDirectory(prefix="nestfleet-samples-") as folder:
        samples = Path(folder) / "samples.safetensors"
        write_samples(samples, saved.graph, saved.inputs, publication.acceptance)
        parts = Parts(saved.graph_file, saved.weights_file, samples)
        return upload(connection, publication, parts, progress)


def _silent(_step: str, _done: int, _total: int) -> None:
    """Progress that nobody asked for."""
