"""Fetching on one core while another folds: what `sync` does where there is much to fetch.

Law: both only talk through the store, and nothing depends on who came how far. The process that fetches works
under the leases of this one. What this process folds meanwhile is what the journal holds by then, by the same
steps as afterwards; a fold that fails here rests, and fails at its own turn, as it would have alone.
"""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, suppress
from multiprocessing import Pipe

from sqlalchemy.exc import DBAPIError

from eventstore.branch import Ingested
from eventstore.errors import ChainfoldError, StoreError
from eventstore.fetch import Window
from projections.runner import BATCH
from projections.service.fetching import Begin, Ended, Held, Ready, Span, Task, Told, resident
from projections.service.folding import LEAST
from projections.service.loops import Failed, Observer, Stepped
from projections.service.stages import FoldStage, IngestStage
from projections.service.wiring import Plan

FIRST = Window(size=250)
"""How wide a range is asked for first: narrow, so that the first step soon shows how far it is to the end."""

FAR = 1_000
"""Blocks from the end that are worth a process, which takes a second to start."""

WORTH = 3.0
"""Seconds that fetching must take still, at the rate so far, to be worth a process."""

LATE = 0.5
"""Seconds of fetching that are left when the process is there, and too few to change hands for."""

PATIENCE = 0.0
"""Seconds that a step here waits for the process to be there: none, for meanwhile there is work to do."""

FETCHING = 192 * 2**20
"""Bytes of memory that the process which fetches takes, as measured."""

PAGE = 24 * 2**20
"""Bytes of memory for a page of logs and its events, while they are folded."""

LOG = 64 * 2**20
"""Bytes to which SQLite's write-ahead log may grow before it is begun anew."""

WAITING = 2 * BATCH
"""Logs that must wait for a fold before it goes on: with fewer it would be at the end of the journal, where a
build commits, and write the same documents again and again."""


class Lost(ChainfoldError):
    """The process that fetched beside this one has ended before its work did."""


class Beside:
    """Decides whether a process fetches beside this one, hands the ingesters over to it, and folds meanwhile.

    `observe` is told everything, in one thread; close it in any case.
    """

    def __init__(
        self, plan: Plan, folds: Sequence[FoldStage], observe: Observer, *, span: Span, tries: int
    ) -> None:
        self._plan = plan
        self._observe = observe
        self._task = Task(plan.config, span, tries)
        self._last = span.last
        self._followers = [_Follower(fold) for fold in folds]
        self._fetcher: _Fetcher | None = None
        self._alone = False
        self._began, self._blocks, self._left = 0.0, 0, 0

    def begin(self) -> None:
        """An ingester is about to be turned."""
        self._began, self._blocks, self._left = 0.0, 0, 0

    def observe(self, event: Stepped | Failed) -> None:
        """What the observer is to be told of an ingester, wherever it is turned."""
        self._observe(event)
        if not isinstance(event, Stepped) or not isinstance(event.record, Ingested):
            return
        record = event.record
        if record.fetched is not None:
            if self._began:
                self._blocks += len(record.fetched)
            else:  # the first step says nothing about the rate: it has looked at the chain as well
                self._began = time.monotonic()
            last = record.head if self._last is None else min(record.head, self._last)
            self._left = last - record.fetched.last
        if record.appended:
            chain = self._plan.config.chains[event.stage.removeprefix("ingest ")].chain_id
            for follower in self._followers:
                follower.appended(chain, record.appended)

    def ready(self) -> bool:
        """Asked after a step of an ingester: is a process there that goes on? One is started if that pays."""
        seconds = self._left * (time.monotonic() - self._began) / max(1, self._blocks)
        if self._fetcher is None:
            if self._blocks and self._left >= FAR and seconds >= WORTH and self._bears():
                self._start()
            return False
        if not self._fetcher.is_ready():
            self._follow(self._fetcher)
            return False
        return seconds >= LATE

    def fetch(self, stages: Sequence[IngestStage]) -> Iterator[tuple[str, ChainfoldError]]:
        """Hands these over and folds what comes until all of them have ended; which failed, and why."""
        fetcher = self._fetcher
        assert fetcher is not None  # `ready` said so
        for stage in stages:
            stage.close()
        waited = [stage.name for stage in stages]
        try:
            fetcher.begin({stage.lease.name: Held(stage.lease.owner, stage.lease.epoch) for stage in stages})
            while waited:
                folded = self._follow(fetcher)
                while waited and (not folded or fetcher.has_told()):
                    folded = True  # what was told may be what a fold waits for
                    match fetcher.told():
                        case Told(event):
                            self.observe(event)
                        case Ended(name, error):
                            waited.remove(name)
                            if isinstance(error, ChainfoldError):
                                yield name, error
                                if isinstance(error, StoreError):
                                    return
                            elif error is not None:
                                raise error
        except Lost as lost:
            yield waited[0], lost
        finally:
            self.close()

    def close(self) -> None:
        """Nothing of the process is left when this returns."""
        if self._fetcher is not None:
            self._fetcher.close()

    def _follow(self, fetcher: _Fetcher) -> bool:
        """Folds a page of every projection for which enough is there, if memory allows: was there any?

        What both processes have must stay within `[fold] memory`; else the folds go on when all is fetched
        and the other process has given back what it had.
        """
        folded = False
        for follower in self._followers:
            if follower.may_step and resident() + fetcher.resident + PAGE <= self._plan.config.fold.memory:
                follower.step(self._observe)
                folded = True
        if folded:
            self._shorten_log()
        return folded

    def _shorten_log(self) -> None:
        """Begins SQLite's write-ahead log anew, at a moment when this process reads nothing.

        The other process would do it where nobody reads when it commits, but a page is read nearly always
        here: the log would grow until all is fetched. What is not to be had now is tried after the next page.
        """
        store = self._plan.store
        if store.sqlite and _size(f"{store.engine.url.database}-wal") > LOG:
            with suppress(sqlite3.Error, DBAPIError), closing(store.engine.raw_connection()) as connection:
                connection.cursor().execute("PRAGMA wal_checkpoint(TRUNCATE)")

    def _start(self) -> None:
        try:
            self._fetcher = _Fetcher(self._task)
        except OSError:  # no process is to be had: all is done in this one, as on one core
            self._alone = True

    def _bears(self) -> bool:
        """Are there a second core, and memory for both?"""
        if self._alone or cores() == 1:
            return False
        return resident() + FETCHING + LEAST <= self._plan.config.fold.memory


def cores() -> int:
    """How many cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _size(path: str) -> int:
    """Bytes of a file; none where there is no such file."""
    try:
        return os.stat(path).st_size
    except OSError:
        return 0


class _Follower:
    """A fold that goes along while its chain is fetched, and how many logs wait for it."""

    def __init__(self, stage: FoldStage) -> None:
        self._stage = stage
        self._waiting = 0  # that this run knows of: of what was there before, its first step tells
        self._rests = False

    @property
    def may_step(self) -> bool:
        return not self._rests and self._waiting >= WAITING

    def appended(self, chain_id: int, logs: int) -> None:
        if chain_id == self._stage.projection.chain_id:
            self._waiting += logs

    def step(self, observe: Observer) -> None:
        """One step. Of one that fails, or does nothing, nobody is told: it comes again in the fold's turn."""
        try:
            record = self._stage.step()
        except ChainfoldError:
            self._rests = True
            return
        self._rests = record.error is not None
        if record.moved:
            observe(Stepped(self._stage.name, record))
        if record.events or not record.moved:
            self._waiting = record.left


class _Fetcher:
    """The process that fetches, as this one sees it."""

    def __init__(self, task: Task) -> None:
        self._pipe, theirs = Pipe()
        self.resident = FETCHING
        with theirs:
            handle = theirs.fileno()
            said = f"from projections.service.fetching import main; main({handle})"
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-c", said],  # -P: a folder `projections` where we are is not ours
                stdin=subprocess.DEVNULL,
                pass_fds=[handle],
                start_new_session=True,  # an interrupt from the terminal is for us, who end it
            )
        self._is_ready = False
        with suppress(OSError):  # one that has ended already will never be ready
            self._pipe.send(task)

    def is_ready(self) -> bool:
        """Has it imported what it needs? One that has ended never will: then all is done here."""
        try:
            if not self._is_ready and self._pipe.poll(PATIENCE):
                self._is_ready = isinstance(self._pipe.recv(), Ready)
        except (EOFError, OSError):
            return False
        return self._is_ready

    def begin(self, leases: dict[str, Held]) -> None:
        """Has it fetch under these leases; `Lost` where it has ended."""
        try:
            self._pipe.send(Begin(leases))
        except OSError as error:
            raise self._lost() from error

    def has_told(self) -> bool:
        return self._pipe.poll()

    def told(self) -> Told | Ended:
        """The next message, waited for; `Lost` where the process has ended without one."""
        try:
            message: Told | Ended = self._pipe.recv()
        except (EOFError, OSError) as error:
            raise self._lost() from error
        if isinstance(message, Told):
            self.resident = message.resident
        return message

    def _lost(self) -> Lost:
        code = self._process.wait()
        how = f"was killed by signal {-code}" if code < 0 else f"ended with exit code {code}"
        return Lost(
            f"The process that fetches beside this one {how}.",
            hint="Nothing is lost: run `chainfold sync` again. If memory is short, lower fold.memory.",
        )

    def close(self) -> None:
        self._pipe.close()
        self._process.kill()
        self._process.wait()
