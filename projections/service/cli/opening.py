"""What `sync` says first: what of the configuration has no effect."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

from projections.service.runtime.fetch_worker import Span
from projections.service.runtime.loops import Failed, Observer, Stepped
from projections.service.runtime.progress import Steps
from projections.service.runtime.wiring import Plan
from projections.service.status.sinks import unpublished
from projections.service.terminal.display import showing
from projections.service.terminal.output import out
from projections.service.terminal.progress import WorkExtent


def steps_of(plan: Plan, span: Span = Span()) -> Steps:  # noqa: B008 - it is frozen
    """Shows the steps of a sync of this span, with how many documents wait for each sink."""
    return partial(showing, whole=WorkExtent(span.last, partial(unpublished, plan.store)))


class Opening:
    """A line that is printed once, before all others, at the first step: of a command that is refused only
    the refusal is seen."""

    def __init__(self, line: str, steps: Steps) -> None:
        self._line = line
        self._steps = steps

    def say(self) -> None:
        """Prints the line, unless it was printed or there is nothing to say."""
        if self._line:
            out().print(self._line)
            self._line = ""

    @contextmanager
    def shown(self) -> Iterator[Observer]:
        """Shows the steps as always, after the line."""
        with self._steps() as observe:

            def first(event: Stepped | Failed) -> None:
                if isinstance(event, Stepped):
                    self.say()
                observe(event)

            yield first
