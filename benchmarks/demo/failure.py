"""The one way in which the demo gives up."""

from __future__ import annotations


class DemoFailure(Exception):  # noqa: N818 - what it is, said to people
    """Something did not happen that should have; the message says what, for people."""
