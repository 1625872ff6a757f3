"""A fleet in containers: converge, survive a kill, survive restarts, roll back, and account for every byte.

The tests are one story, told in order.
"""

from __future__ import annotations

from pathlib import Path

import pytest

pytestmark = pytest.mark.e2e

LEVELS = {"agent-small": 4, "agent-medium": 6, "agent-large": 8}
MODEL = "resnet"
HERE = Path(__file__).parent
