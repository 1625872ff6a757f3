"""Publishing a model: export, write the parts, stream them to the server."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nestfleet.v1 import catalog_pb2

from server.client.connection import DEFAULT_SERVER, Connection
from server.client.publication import Acceptance, Arrays, Evaluation, Publication
from server.client.samples import write_sample_files
from server.client.upload import Parts, Progress, upload
from server.quantize.order import Pin

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
    calibration: Arrays | None = None,
    evaluation: tuple[Arrays, Any] | None = None,
    pins: Mapping[str, int] | None = None,
    first_last: int = 0,
    budget_bytes: int = 0,
    min_fidelity: float = 0.0,
    fresh: bool = False,
    on_progress: Progress | None = None,
) -> catalog_pb2.Version:
    """Publish a model as the next version of ``name``.

    Args:
        model: Run in evaluation mode.
        example_inputs: Tensors as the model is called with, in order or by keyword; axis 0 is the batch.
        name: The model's name in the registry.
        levels: Ascending bit-widths within 2..8.
        rounding: Rounding mode: "floor", "adaptive" as in the NestQuant paper, "calibrated" by samples, or
            "auto".
        refit: Whether part-bit levels get refitted scales and offsets; "floor" always does it.
        server: ``HOST:PORT``.
        self_test: Inputs and integer labels [samples]; a device must give them the first output's highest
            value. At most 64 samples. None: the example inputs, without labels.
        min_agreement: Least share of the labels that a device must hit, 0..1.
        calibration: Inputs without labels, 1 to 512 samples, better 32; calibrated rounding needs them.
        evaluation: Inputs and integer labels [samples], at most 10,000, for top-1 in the fidelity report.
        pins: Pattern of tensors' names, as the shell matches files, to the level below which they never run.
        first_last: The level of the first and the last weight in order of use; 0: as the others.
        budget_bytes: What all bases together may take; 0: every base is at the lowest level.
        min_fidelity: Least mean cosine of the outputs at the lowest level to those of the floats, 0..1; below
            it nothing is published.
        fresh: Whether all scales are made anew. Else those of the newest version of ``name`` stay where that
            costs no fidelity, so that devices fetch small updates.
        on_progress: Called with the step, what is done of it, and the whole of it.

    Returns:
        The version as the registry knows it.

    Raises:
        InvalidInputError: An argument or the model is not what can be delivered.
        LinkError: The server cannot be reached.
        Error: What the server refused the model for.
    """
    publication = Publication(
        name,
        levels,
        rounding,
        Acceptance(*self_test) if self_test else None,
        min_agreement,
        refit=refit,
        calibration=calibration,
        evaluation=Evaluation(*evaluation) if evaluation else None,
        pins=tuple(Pin(pattern, level) for pattern, level in (pins or {}).items()),
        first_last=first_last,
        budget_bytes=budget_bytes,
        min_fidelity=min_fidelity,
        fresh=fresh,
    )
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
        files = write_sample_files(Path(folder), saved.graph, saved.inputs, publication)
        parts = Parts(saved.graph_file, saved.weights_file, *files)
        return upload(connection, publication, parts, progress)


def _silent(_step: str, _done: int, _total: int) -> None:
    """Progress that nobody asked for."""
