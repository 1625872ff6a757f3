"""Settings of every test run."""

from __future__ import annotations

import os

from hypothesis import settings

# The same examples in every run, so that a failure is never luck; HYPOTHESIS_PROFILE=explore seeks new ones.
# No deadline for an example: how fast a shared machine is, is no property of the code.
settings.register_profile("repeatable", derandomize=True, deadline=None)
settings.register_profile("explore", deadline=None, max_examples=1000)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "repeatable"))
