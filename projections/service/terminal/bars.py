"""How long work is drawn: bars with rate and ETA on a terminal, plain log lines elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, Task, TextColumn
from rich.text import Text

from projections.service.logging import logger
from projections.service.runtime.progress import Advance

QUIET = 5.0
"""Seconds between two lines of progress where there is no terminal."""


@contextmanager
def counted(what: str, *, every: float = QUIET) -> Iterator[Advance]:
    """Shows how far one piece of work is; it calls what this yields as often as it likes."""
    began = last = time.monotonic()

    def rate_of(done: int) -> float:
        return done / max(time.monotonic() - began, 1e-9)

    if sys.stderr.isatty():
        with bars() as shown:
            task = shown.add_task(what, total=None)

            def draw(done: int, of: int) -> None:
                rate = rate_of(done)
                eta = span((of - done) / rate if rate else None)
                shown.update(task, completed=done, total=of, rate=rate, eta=eta)

            yield draw
        return
    log = logger()

    def tell(done: int, of: int) -> None:
        nonlocal last
        if time.monotonic() - last >= every:
            last, rate = time.monotonic(), rate_of(done)
            eta = span((of - done) / rate if rate else None)
            log.info("progress", stage=what, done=done, of=of, rate=f"{rate:,.0f}/s", eta=eta)

    yield tell


def span(seconds: float | None) -> str:
    """h:mm:ss; a dash for None."""
    return "-" if seconds is None else str(timedelta(seconds=round(seconds)))


class _Rate(ProgressColumn):
    """Units a second and the time that is left, as the course has them."""

    def render(self, task: Task) -> Text:
        if not task.fields.get("rate"):
            return Text("")
        return Text(f"{task.fields['rate']:,.0f}/s, {task.fields['eta']} left")


def bars() -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        _Rate(),
        console=Console(stderr=True, highlight=False, markup=False),
        transient=True,
    )
