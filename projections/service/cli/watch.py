"""`status --watch`: everything again and again, with rates, also while the store is away."""

from __future__ import annotations

import signal
import sys
import time
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from typing import Any

import msgspec
from msgspec import Struct
from rich.console import Group, RenderableType
from rich.live import Live

from eventstore.errors import ChainfoldError
from eventstore.journal.totals import Tally
from projections.service.config.settings import Config
from projections.service.runtime.wiring import Plan, planned
from projections.service.status.overview import whole_status
from projections.service.status.records import Status
from projections.service.terminal import board
from projections.service.terminal.output import out
from projections.sinks import Sink

WINDOW = 30.0
"""Seconds over which rates are taken: one look after another would make them jump."""

PATIENCE = 3.0
"""Seconds that a sink may take to say where it stands."""


class Look(Struct, frozen=True):
    """What was seen last, `rates` since looks before it, and why nothing newer can be seen, if so.

    `at` and `away_since` are seconds since 1970.
    """

    at: float
    status: Status | None = None
    rates: board.Rates = board.Rates()
    away: ChainfoldError | None = None
    away_since: float | None = None


class Watcher:
    """Looks when it is asked to; opens the store and the sinks when it can, and once."""

    def __init__(self, config: Config) -> None:
        self._config = config
        self._open = ExitStack()
        self._plan: Plan | None = None
        self._sinks: dict[str, Sequence[Sink]] = {}
        self._seen: deque[tuple[float, Status]] = deque()
        self._tally = Tally()
        self._last = Look(time.time())

    def look(self) -> Look:
        """What there is now; of a store that is away what was seen last. Raises what no waiting can heal."""
        try:
            found = self._status()
        except ChainfoldError as error:
            if not error.retry:
                raise
            since = self._last.away_since or time.time()
            self._last = msgspec.structs.replace(self._last, away=error, away_since=since)
            self._seen.clear()  # rates do not go on from before it
            return self._last
        now = time.monotonic()
        self._seen.append((now, found))
        while now - self._seen[0][0] > WINDOW and len(self._seen) > 2:
            self._seen.popleft()
        before, old = self._seen[0]
        moved = board.rates(old, found, now - before) if now > before else board.Rates()
        self._last = Look(time.time(), found, moved)
        return self._last

    def close(self) -> None:
        self._open.close()

    def _status(self) -> Status:
        if self._plan is None:
            self._plan = self._open.enter_context(planned(self._config))
            for name in self._plan.projections:
                self._sinks[name] = self._plan.sinks(name, patience=PATIENCE)
                for sink in self._sinks[name]:
                    self._open.callback(sink.close)
        return whole_status(self._plan, sinks=self._sinks, tally=self._tally)


def watched(config: Config, *, every: float, as_json: bool) -> None:
    """Shows one look after another until Ctrl-C or SIGTERM: drawn on a terminal, else a line for each."""
    watcher = Watcher(config)
    with _ended_by_signals():
        try:
            if as_json or not sys.stdout.isatty():
                for look in _looks(watcher, every):
                    print(_document(look) if as_json else line(look), flush=True)
            else:
                _draw(watcher, every)
        finally:
            watcher.close()


def _draw(watcher: Watcher, every: float) -> None:
    console = out()
    look: Look | None = None
    try:
        with Live(console=console, screen=True, auto_refresh=False) as live:
            for look in _looks(watcher, every):
                live.update(Group(*drawn(look, every=every)), refresh=True)
    finally:
        if look is not None:  # what was there last stays on the screen
            console.print(Group(*drawn(look)))


def _looks(watcher: Watcher, every: float) -> Iterator[Look]:
    while True:
        began = time.monotonic()
        yield watcher.look()
        time.sleep(max(0.0, every - (time.monotonic() - began)))


@contextmanager
def _ended_by_signals() -> Iterator[None]:
    """Ctrl-C and SIGTERM end the block without an error."""

    def end(*_: Any) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, end)
    try:
        with suppress(KeyboardInterrupt):
            yield
    finally:
        signal.signal(signal.SIGTERM, before)


def drawn(look: Look, *, every: float | None = None) -> Iterator[RenderableType]:
    """A look as it is drawn: what needs attention first, for a terminal may be too short for all."""
    head = f"chainfold at {board.when(look.at)}"
    yield head if every is None else f"{head}, every {every:g} s; Ctrl-C ends it"
    if look.away is not None:
        yield f"The event store is away since {board.when(look.away_since)}: {look.away}"
    found = look.status
    if found is None:
        return
    if look.away is not None:
        yield "What follows is what was seen last."
    yield from (
        *board.errors(found),
        *board.gaps(found),
        *board.incidents(found),
        *board.standing(found, look.rates),
    )
    for part in (*board.moving(found, look.rates), *board.work(found)):
        yield ""
        yield part
    yield from board.asked(found)


def line(look: Look) -> str:
    """A look as one line of plain text."""
    if look.away is not None:
        return f"{board.when(time.time())} the event store is away: {look.away}"
    found = look.status or Status({}, {}, {})
    parts = []
    for name, chain in found.chains.items():
        rate = look.rates.chains.get(name)
        speed = "" if rate is None else f", {rate.blocks:,.1f} blocks/s"
        parts.append(f"{name}: head {_count(chain.head)}, covered to {_count(chain.covered_to)}{speed}")
    for name, item in found.projections.items():
        parts.append(f"{name}: {item.state}, block {_count(item.block)}, {_count(item.lag_blocks)} behind")
    parts += [f"{name}: {sink.state}" for name, sink in found.sinks.items()]
    parts += [*board.errors(found), *board.gaps(found), *board.incidents(found)]
    return " ".join(f"{board.when(look.at)} {'; '.join(parts)}".split())


def _document(look: Look) -> str:
    """A look as JSON on one line: the status, or why there is none."""
    if look.away is not None:
        return msgspec.json.encode({"error": str(look.away)}).decode()
    return msgspec.json.encode(look.status).decode()


def _count(number: int | None) -> str:
    return "-" if number is None else f"{number:,}"
