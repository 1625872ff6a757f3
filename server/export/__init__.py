"""From a live PyTorch model to a graph, its tensors and example inputs, without pickle."""

from __future__ import annotations

from server.export.exported import Exported
from server.export.files import load_exported, save_exported
from server.export.pipeline import export_model

__all__ = ["Exported", "export_model", "load_exported", "save_exported"]
