"""Which engine runs layers in integers here."""

from __future__ import annotations

from common.errors import ConfigError
from device_agent.inference.integer.engines.onednn import OneDnn
from device_agent.inference.integer.engines.port import Engine


def choose_engine(name: str) -> Engine | None:
    """The engine of a name; for "auto" the best that is here, None where none is.

    Raises:
        ConfigError: The engine that was named is not here.
    """
    if name == "none" or (name == "auto" and not OneDnn.is_here()):
        return None
    if name in {"auto", "onednn"} and OneDnn.is_here():
        return OneDnn()
    raise ConfigError(f"There is no engine {name!r} for integer kernels here.", advice="Set engine to auto.")
