"""From an assignment to the first inference over a slow link."""

from __future__ import annotations

import tempfile
from pathlib import Path

from benchmarks.delivery.row import Row
from benchmarks.delivery.site import site
from benchmarks.links.faulty_link import FaultyLink

_BITS = 8
_SPARE_SECONDS = 60.0


async def measure(link_mbit_per_s: float, width: int) -> Row:
    """One row; the agent runs and is idle when its first goal comes. Its broker is not behind the link."""
    rate = link_mbit_per_s * 1e6 / _BITS
    with tempfile.TemporaryDirectory(prefix="nestfleet-bench-") as folder:
        async with (
            site(Path(folder), width) as here,
            FaultyLink(here.server, to_device_bytes_per_second=rate) as link,
        ):
            agent = await here.agent(link)
            ideal_seconds = here.base_bytes / rate
            began = await here.assign()
            answered = await agent.first_answer(3 * ideal_seconds + _SPARE_SECONDS)
            return Row(
                scenario="limited_link",
                devices=1,
                link_mbit_per_s=link_mbit_per_s,
                first_inference_seconds=answered - began,
                ideal_seconds=ideal_seconds,
                base_bytes=here.base_bytes,
            )
