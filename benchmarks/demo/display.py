"""What the demo shows: plain lines, and on a terminal a table that lives while something goes on."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Sequence

from rich import box
from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

from benchmarks.demo.bars import Bar
from benchmarks.demo.views import View, Views

_PIPE_COLUMNS = 150


class Display:
    """The demo's output; created when the demo starts, since it shows the seconds gone by."""

    def __init__(self) -> None:
        console = Console(highlight=False, markup=False)
        self._console = (
            console if console.is_terminal else Console(highlight=False, markup=False, width=_PIPE_COLUMNS)
        )
        self._start = time.monotonic()
        self._scenes = 0
        self._live: Live | None = None
        self._seen: dict[str, str] = {}

    @property
    def seconds(self) -> float:
        """Since the demo started."""
        return time.monotonic() - self._start

    def scene(self, title: str) -> None:
        """A numbered headline."""
        self._scenes += 1
        head = f"\n{self._scenes}. {title} "
        self._console.print(Text.assemble((head, "bold cyan"), (f"[{self.seconds:.0f} s]", "dim")))

    def say(self, text: str) -> None:
        """A sentence of explanation."""
        self._console.print(f"   {text}")

    def result(self, text: str) -> None:
        """Something that was measured or reached."""
        self._console.print(Text.assemble(("   ✓ ", "bold green"), text))

    def training(self, version: int, done: int, total: int) -> None:
        """How far the training of a version is: a line now and then, and at the end."""
        if done in {1, total} or done % 4 == 0:
            filled = round(20 * done / total)
            bar = "█" * filled + "░" * (20 - filled)
            self._console.print(f"   version {version}  {bar}  epoch {done} of {total}  {self.seconds:.0f} s")

    def command(self, text: str) -> None:
        """A command that is run now."""
        self._console.print(Text.assemble(("   $ ", "dim"), (text, "bold")))

    def verbatim(self, text: str) -> None:
        """What a command printed."""
        for line in text.rstrip().splitlines():
            self._console.print(f"     {line}", no_wrap=True, overflow="ignore", crop=False)

    def failure(self, text: str) -> None:
        """Why the demo ends here."""
        self._console.print(Text.assemble(("\n   ✗ ", "bold red"), text))

    def working(self) -> contextlib.AbstractContextManager[object]:
        """While it lasts, a terminal shows that something goes on."""
        return self._console.status("working") if self._console.is_terminal else contextlib.nullcontext()

    @contextlib.contextmanager
    def watching(self) -> Iterator[None]:
        """While it lasts, ``agents`` draws a table on a terminal."""
        if not self._console.is_terminal:
            yield
            return
        with Live(console=self._console, transient=True, refresh_per_second=8) as live:
            self._live = live
            try:
                yield
            finally:
                self._live = None

    def agents(self, views: Views) -> None:
        """Draw the agents anew, and a line for each that does something else than before."""
        for device_id, view in views.items():
            doing = f"{view.phase:<8} {view.running}"
            if self._seen.get(device_id) != doing:
                self._seen[device_id] = doing
                self._console.print(_line(device_id, view, self.seconds))
        if self._live:
            self._live.update(_agent_table(views))

    def bars(self, bars: Sequence[Bar]) -> None:
        """What had to be reached, and whether it was."""
        grid = Table(box=box.SIMPLE_HEAD, pad_edge=False, title_justify="left")
        grid.add_column("")
        grid.add_column("what must hold")
        grid.add_column("measured", justify="right")
        grid.add_column("limit", justify="right")
        for bar in bars:
            mark = Text("✓", "bold green") if bar.holds else Text("✗", "bold red")
            grid.add_row(mark, bar.claim, bar.measured, bar.limit)
        self._console.print(grid)


def _line(device_id: str, view: View, seconds: float) -> Text:
    return Text.assemble(
        (f"   {seconds:6.1f} s  ", "dim"),
        (f"{device_id:<8} ", "bold"),
        (f"{view.phase:<9}", _style(view)),
        f"runs {view.running:<21} in memory {view.in_memory:<22} received {view.received}",
    )


def _agent_table(views: Views) -> Table:
    grid = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for name in ("board", "does", "runs", "weights in memory", "received", "download"):
        grid.add_column(name)
    for device_id, view in views.items():
        phase = Text(view.phase, _style(view))
        grid.add_row(device_id, phase, view.running, view.in_memory, view.received, _download(view))
    return grid


def _download(view: View) -> str:
    done, total = view.state.fetch_done_bytes, view.state.fetch_total_bytes
    if not total or view.phase != "fetching":
        return ""
    filled = round(20 * done / total)
    return "█" * filled + "░" * (20 - filled) + f" {100 * done / total:3.0f} %"


def _style(view: View) -> str:
    return {"at rest": "green", "refused": "bold yellow", "away": "red"}.get(view.phase, "cyan")
