"""Progress of a push on stderr: bars on a terminal, a line per step elsewhere."""

from __future__ import annotations

from types import TracebackType
from typing import Final, Self

from rich.progress import BarColumn, Progress, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn

from common.byte_sizes import format_bytes
from server.cli.output import notices, printable

_TITLES: Final = {
    "export": "Export the graph",
    "receive": "Send to the server",
    "calibrate": "Calibrate",
    "quantize": "Quantize",
    "ranges": "Observe activations",
    "self-test": "Compute the self-test",
    "fidelity": "Measure the fidelity",
    "scales": "Keep scales",
    "store": "Store the blobs",
}


class PushProgress:
    """A progress callback that draws; a context, so that the terminal is whole again after an error.

    Attributes:
        kept_scales: How many rows kept the scales of the version before, of how many; None: there is none.
    """

    def __init__(self) -> None:
        self._console = notices()
        self._live = self._console.is_terminal
        self._tasks: dict[str, TaskID] = {}
        self._newest = ""
        self.kept_scales: tuple[int, int] | None = None
        self._progress = Progress(
            SpinnerColumn(finished_text="[green]✓"),
            TextColumn("{task.description:<22}"),
            BarColumn(bar_width=32),
            TextColumn("{task.fields[amount]}"),
            TimeElapsedColumn(),
            console=self._console,
            disable=not self._live,
        )

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None:
            self._finish(self._newest)
        self._progress.stop()

    def __call__(self, step: str, done: int, total: int) -> None:
        """Show that ``done`` of ``total`` of a step is done; the steps before it are done whole."""
        if step == "scales":
            self.kept_scales = (done, total)
        if step != self._newest:
            self._finish(self._newest)
            self._newest = step
            title = _TITLES.get(step, printable(step)[:22])
            self._tasks[step] = self._progress.add_task(title, amount="")
            if not self._live:
                self._console.print(f"{title} …", soft_wrap=True)
        amount = _amount(step, done, total)
        self._progress.update(self._tasks[step], completed=done, total=total or None, amount=amount)

    def _finish(self, step: str) -> None:
        if step in self._tasks:
            task = next(task for task in self._progress.tasks if task.id == self._tasks[step])
            total = task.total or 1
            self._progress.update(task.id, completed=total, total=total)


def _amount(step: str, done: int, total: int) -> str:
    if step == "receive":
        return f"{format_bytes(done)} of {format_bytes(total)}"
    return f"{done} of {total}" if total > 1 else ""
