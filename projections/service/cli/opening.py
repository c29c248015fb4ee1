"""What `sync` says first: what of the configuration has no effect."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from projections.service.runtime.loops import Failed, Observer, Stepped
from projections.service.terminal.display import Summary, showing
from projections.service.terminal.output import out
from projections.service.terminal.progress import Whole


class Opening:
    """A line that is printed once, before all others, as soon as work is done at all: of a command that is
    refused only the refusal is seen."""

    def __init__(self, line: str, whole: Whole) -> None:
        self._line = line
        self._whole = whole

    def say(self) -> None:
        """Prints the line, unless it was printed or there is nothing to say."""
        if self._line:
            out().print(self._line)
            self._line = ""

    @contextmanager
    def shown(self, summary: Summary) -> Iterator[Observer]:
        """Shows the steps as always, after the line."""
        with showing(summary, whole=self._whole) as observe:

            def first(event: Stepped | Failed) -> None:
                if isinstance(event, Stepped):
                    self.say()
                observe(event)

            yield first
