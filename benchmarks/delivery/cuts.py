"""A whole version over a link that is cut at random bytes."""

from __future__ import annotations

import random
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from benchmarks.delivery.row import Row
from benchmarks.delivery.site import Agent, site, until
from benchmarks.links.faulty_link import FaultyLink

_BITS = 8
_SECONDS_A_CUT = 15.0
_SPARE_SECONDS = 120.0


async def measure(cuts: int, width: int, link_mbit_per_s: float) -> Row:
    """One row; the cuts lie at random over all bytes of the version, the first anywhere, too."""
    rate = link_mbit_per_s * 1e6 / _BITS
    dice = random.Random(0)  # noqa: S311  # repeatable, no secret
    with tempfile.TemporaryDirectory(prefix="nestfleet-bench-") as folder:
        async with (
            site(Path(folder), width) as here,
            FaultyLink(here.server, to_device_bytes_per_second=rate) as link,
        ):
            agent = await here.agent(link)
            before_bytes = link.to_device_bytes
            places = sorted(dice.sample(range(here.needed_bytes), cuts))
            gaps = [place - last for place, last in zip(places, [0, *places], strict=False)]
            began = await here.assign()
            for done, gap in enumerate(gaps, start=1):
                link.cut_after(max(gap, 1))
                await until(_reached(link, done), "a cut", agent.child, seconds=_SECONDS_A_CUT)
            limit_seconds = here.needed_bytes / rate + _SPARE_SECONDS
            await until(lambda: _is_whole(agent), "all has come", agent.child, seconds=limit_seconds)
            ledger = (await agent.status())["ledger"]
            return Row(
                scenario="cuts",
                devices=1,
                link_mbit_per_s=link_mbit_per_s,
                cuts=link.cuts,
                bytes_sent=link.to_device_bytes - before_bytes,
                bytes_needed=here.needed_bytes,
                fetched_twice_bytes=ledger["retransmitted"],
                seconds=time.perf_counter() - began,
            )


def _reached(link: FaultyLink, cuts: int) -> Callable[[], bool]:
    return lambda: link.cuts >= cuts


async def _is_whole(agent: Agent) -> bool:
    status = await agent.status()
    return bool(status["phase"] == "idle" and status["level"] == 8)
