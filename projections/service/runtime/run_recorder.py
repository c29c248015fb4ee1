"""A run, written down while it lasts: when it began and ended, by whom, and how."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from eventstore.errors import ChainfoldError
from eventstore.storage.lease import this_process
from eventstore.storage.store import Store
from projections.errors import ConfigurationError
from projections.service.records.runs import BEAT, Origin, Outcome, Runs


class Stopped(ChainfoldError):
    """A run is cut short because the service was asked to stop."""


class Note:
    """What a run says of itself: call it with what was done, and how that ended where it ended otherwise
    than well."""

    def __init__(self) -> None:
        self.detail = ""
        self.outcome = Outcome.DONE

    def __call__(self, detail: str, outcome: Outcome = Outcome.DONE) -> None:
        self.detail, self.outcome = detail, outcome


@contextmanager
def recorded(
    store: Store,
    command: str,
    *,
    origin: Origin = "manual",
    due_at: int | None = None,
    started_at: int | None = None,
) -> Iterator[Note]:
    """Writes a run down for `chainfold runs`; of one of the schedule `due_at` is when it was wanted, and
    `started_at` when it began by the schedule's clock, in microseconds since 1970."""
    with store.write() as tx:
        number = Runs(tx).begin(
            command, origin=origin, owner=this_process(), due_at=due_at, started_at=started_at
        )
    note, ended = Note(), threading.Event()
    beat = threading.Thread(target=_beat, args=(store, number, ended), name="beat", daemon=True)
    beat.start()
    failure: BaseException | None = None
    try:
        yield note
    except BaseException as error:
        failure = error
        raise
    finally:
        ended.set()
        beat.join()
        _end(store, number, note, failure)


def _end(store: Store, number: int, note: Note, failure: BaseException | None) -> None:
    outcome, detail = note.outcome, note.detail
    match failure:
        case None:
            pass
        case KeyboardInterrupt() | Stopped():
            outcome, detail = Outcome.INTERRUPTED, "It was asked to stop."
        case ConfigurationError():
            outcome, detail = Outcome.MISUSED, str(failure)
        case ChainfoldError():
            outcome, detail = Outcome.FAILED, str(failure)
        case _:  # a command's own exit, with what it noted; of anything else the type, which holds no secret
            outcome = Outcome.FAILED
            detail = note.detail or f"An unexpected {type(failure).__name__} ended it."
    try:
        with store.write() as tx:
            Runs(tx).end(number, outcome, detail)
    except ChainfoldError:
        if failure is None:
            raise  # else the first error is the one to tell; the run shows as interrupted


def _beat(store: Store, number: int, ended: threading.Event) -> None:
    """Says that the run lives, for as long as it does."""
    while not ended.wait(BEAT):
        with suppress(ChainfoldError), store.write() as tx:  # a store that is away: the run itself says so
            Runs(tx).beat(number)
