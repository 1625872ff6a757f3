"""What quantizing asks of its workers."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable
from typing import Protocol, TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


class Workers(Protocol):
    """Do independent pieces of work side by side. Threads may share them."""

    def map(
        self,
        task: Callable[[Item], Result],
        items: Iterable[Item],
        *,
        check: Callable[[Result], None] | None = None,
    ) -> Generator[Result, None, None]:
        """The results, in the order of their items.

        An item is taken when there is room for it: about two per worker are under way, so that no more than
        that are in memory, as items or as results. The first error, in the order of the items, is raised in
        its result's place; nothing else is begun then, nor once the generator is closed.

        Args:
            task: A function of a module's top level, or a partial of one: it may run in another process.
            items: Taken in the caller's thread; values that pickle.
            check: Looks at each result that came over a network, and raises where it is not whole.

        Raises:
            LinkError: The workers are out of reach, or were closed.
            CapacityError: The work kills its workers.
            ConfigError: The workers have other software than this process.
        """
        ...

    def close(self) -> None:
        """Nobody works any more; a ``map`` that another thread waits for ends with an error."""
        ...
