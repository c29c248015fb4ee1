"""A connection to PostgreSQL that notices a server which no longer answers: frozen, or gone without a word.

Law: a server may be silent as long as it works. A statement that takes long and a server that stands still
look the same from here, and a server that stands still obeys no timeout of its own. So a process that has
waited for `quiet` seconds without a byte asks over a second connection what the server does for the first. A
server that answers there, and is at work, is waited for, an hour at most; one that does not answer twice, or
that waits for us while we wait for it, is given up: the statement fails, and so does its transaction.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Generator, Mapping
from contextlib import suppress
from typing import Any

import psycopg
from msgspec import Struct

Waits = Generator[Any, Any, Any]

KEEPALIVE: Mapping[str, int] = {
    "keepalives_idle": 30,
    "keepalives_interval": 10,
    "keepalives_count": 3,
    "tcp_user_timeout": 60_000,
}
"""What the kernel looks after, over TCP: a peer that acknowledges nothing for a minute is gone."""

_AT_WORK = """
SELECT state, wait_event, clock_timestamp() - state_change > make_interval(secs => %s), pg_backend_pid()
FROM (SELECT 1) one LEFT JOIN pg_stat_activity ON pid = %s
"""


class Patience(Struct, frozen=True):
    """Seconds: without a byte until the server is asked, for its answer (and for a connection; whole seconds,
    two at least), and for one exchange in all."""

    quiet: float = 10.0
    answer: float = 10.0
    whole: float = 3600.0


class Unanswered(psycopg.OperationalError):
    """The server was given up; the connection is closed."""

    unanswered = True


class WatchedConnection(psycopg.Connection[Any]):
    """A connection whose every wait is watched."""

    patience = Patience()
    ask: Callable[[], psycopg.Connection[Any]] | None = None
    """Makes the second connection; None for that one itself."""

    def wait(self, gen: Waits, *arguments: Any, **options: Any) -> Any:
        return super().wait(self._watched(gen), *arguments, **options)

    def _watched(self, gen: Waits) -> Waits:
        """`gen`, which is resumed about every tenth of a second when nothing came."""
        patience, strikes = self.patience, 0
        began = heard = time.monotonic()
        try:
            wanted = next(gen)
            while True:
                ready = yield wanted
                now = time.monotonic()
                if ready:
                    heard, strikes = now, 0
                elif now - began > patience.whole:
                    raise self._given_up(f"a statement took longer than {patience.whole:,.0f} s", cancel=True)
                elif now - heard > patience.quiet and self.ask is not None:
                    strikes = 0 if self._is_at_work(self.ask) else strikes + 1
                    if strikes == 2:
                        raise self._given_up(f"no answer for {time.monotonic() - heard:,.0f} s")
                    if strikes == 0:
                        heard = time.monotonic()
                wanted = gen.send(ready)
        except StopIteration as end:
            return end.value

    def _is_at_work(self, ask: Callable[[], psycopg.Connection[Any]]) -> bool:
        """Does the server, asked beside, work on what is waited for here? A refusal is an answer as well, and
        behind a pooler this cannot be known: then the kernel and the hour are what there is."""
        mine = self.pgconn.backend_pid
        try:
            with ask() as beside:
                asked = (self.patience.quiet / 2, mine)
                state, event, long_since, pid = beside.execute(_AT_WORK, asked).fetchone() or (None,) * 4
                pooled = pid != beside.pgconn.backend_pid
        except psycopg.OperationalError as error:
            return error.sqlstate is not None or "FATAL" in str(error)
        if pooled:
            return True
        if state is None:  # its process is gone
            return False
        lost = state.startswith("idle") and long_since  # it has answered, or was never asked
        return not lost and event not in ("ClientRead", "ClientWrite")

    def _given_up(self, why: str, *, cancel: bool = False) -> Unanswered:
        if cancel:
            with suppress(psycopg.Error):
                self.cancel_safe(timeout=5.0)
        self.pgconn.finish()
        return Unanswered(f"{why}; the connection was given up")


def connector(patience: Patience) -> Callable[[Any, Any, tuple[Any, ...], dict[str, Any]], WatchedConnection]:
    """What SQLAlchemy calls, as its event `do_connect`, to make a connection."""
    in_time = patience.answer

    def connect(
        _dialect: Any, _record: Any, words: tuple[Any, ...], options: dict[str, Any]
    ) -> WatchedConnection:
        settings = {"connect_timeout": math.ceil(in_time), **KEEPALIVE, **options}

        def ask() -> WatchedConnection:
            soon = {**settings, "connect_timeout": math.ceil(in_time), "autocommit": True}
            beside = WatchedConnection.connect(*words, **soon)
            beside.patience = Patience(math.inf, in_time, in_time)
            return beside

        made = WatchedConnection.connect(*words, **settings)
        made.patience, made.ask = patience, ask
        return made

    return connect
