"""A version's fidelity report, from the server to the terminal or a picture."""

from __future__ import annotations

from pathlib import Path

from common import fidelity_codec
from common.errors import NotFoundError
from common.fidelity import FidelityReport
from common.manifest import Manifest
from server.client.fleet import FleetClient


def read_fidelity(client: FleetClient, manifest: Manifest) -> FidelityReport | None:
    """The report that the manifest names; None where it names none.

    Raises:
        IntegrityError: The blob is not what the manifest names.
        InvalidInputError: It holds no report.
    """
    ref = manifest.fidelity
    return fidelity_codec.from_json(client.read_blob(ref)) if ref else None


def draw_fidelity(report: FidelityReport | None, path: Path, *, title: str) -> None:
    """A picture of the report is in the file.

    Raises:
        NotFoundError: There is no report.
        ConfigError: The file cannot be written there, or its suffix is no picture's.
        CapacityError: The disk is full.
    """
    if report is None:
        raise NotFoundError(
            f"{title} has no fidelity report, so there is nothing to draw.",
            advice="Push the model again: every version that is pushed now gets one.",
        )
    from server.cli.fidelity_picture import draw  # noqa: PLC0415 - matplotlib takes a second to import

    draw(report, path, title=title)
