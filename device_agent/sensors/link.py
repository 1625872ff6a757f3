"""Whether bytes cost money."""

from __future__ import annotations

from pathlib import Path

from device_agent.sensors.readings import Readings
from device_agent.update.metered import Metered, MeteredLink


class LinkSensor:
    """The settings' word, or a file that the board's network scripts write.

    NetworkManager knows it too, but says so over D-Bus alone; a script of its dispatcher can write the file.

    Args:
        setting: AUTO leaves it to the file.
        file: None where nobody writes one.
    """

    def __init__(self, setting: Metered, file: Path | None) -> None:
        self._known = setting is not Metered.AUTO or file is not None
        self._link = MeteredLink(setting, file)

    def read(self) -> Readings:
        """Metered or not; nothing where nobody says."""
        return Readings(metered=self._link.look()) if self._known else Readings()
