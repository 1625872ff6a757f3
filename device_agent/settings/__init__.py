"""The agent's settings. Nothing else reads the environment."""

from device_agent.settings.fields import NAMES, Settings
from device_agent.settings.loading import add_flags, load_settings

__all__ = ["NAMES", "Settings", "add_flags", "load_settings"]
