"""Fetching on one core while another folds: what `sync` does where there is much to fetch.

Law: both only talk through the store, and nothing depends on who came how far. The process that fetches works
under the leases of this one. What this process folds meanwhile is what the journal holds by then, by the same
steps as afterwards; a fold that fails here rests, and fails at its own turn, as it would have alone.
"""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, suppress

from sqlalchemy.exc import DBAPIError

from eventstore.errors import ChainfoldError, StoreError
from eventstore.ingest.branch import Ingested
from eventstore.ingest.window import Window
from projections.fold.runner import BATCH
from projections.service.config.fold import LEAST
from projections.service.runtime.fetch_process import FETCHING, Fetcher, FetchProcessLost, cores
from projections.service.runtime.fetch_worker import Ended, FetchTask, HeldLease, Relayed, resident
from projections.service.runtime.loops import Failed, Observer, Stepped
from projections.service.runtime.stages import FoldStage, IngestStage
from projections.service.runtime.wiring import Plan

FIRST = Window(size=250)
"""How wide a range is asked for first: narrow, so that the first step soon shows how far it is to the end."""

FAR = 1_000
"""Blocks from the end that are worth to start a process for, which takes a second."""

WORTH = 3.0
"""Seconds that fetching must take still, at the rate so far, to be worth that."""

LATE = 0.5
"""Seconds of fetching that are left when the process is there, and too few to change hands for."""

PAGE = 24 * 2**20
"""Bytes of memory for a page of logs and its events, while they are folded."""

LOG = 64 * 2**20
"""Bytes to which SQLite's write-ahead log may grow before it is restarted."""

WAITING = BATCH + BATCH // 4
"""Logs that must wait for a fold before it goes on: with no more than a page of them it would be at the end
of the journal, where a build commits, and write the same documents again and again."""


class Beside:
    """Decides whether a process fetches beside this one, hands the ingesters over to it, and folds meanwhile.

    A `fetcher` that is given fetches from the beginning; without it one is started when that pays.
    `observe` receives every event, in one thread; close it in any case.
    """

    def __init__(
        self,
        plan: Plan,
        folds: Sequence[FoldStage],
        observe: Observer,
        task: FetchTask,
        fetcher: Fetcher | None,
    ) -> None:
        self._plan = plan
        self._observe = observe
        self._task = task
        self._last = task.span.last
        self._followers = [_Follower(fold) for fold in folds]
        self._fetcher = fetcher if self._bears() else None
        self._alone = False
        self._began, self._blocks, self._left = 0.0, 0, 0

    @property
    def at_hand(self) -> bool:
        """Is there a process that fetches everything?"""
        return self._fetcher is not None

    def begin(self) -> None:
        """An ingester is about to be turned here."""
        self._began, self._blocks, self._left = 0.0, 0, 0

    def observe(self, event: Stepped | Failed) -> None:
        """Passes an ingester's event to the observer, in whichever process the ingester ran."""
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
            if self._blocks and self._left >= FAR and seconds >= WORTH and not self._alone and self._bears():
                self._start()
            return False
        if not self._fetcher.is_ready():
            self._follow(self._fetcher)
            return False
        return seconds >= LATE

    def fetch(self, stages: Sequence[IngestStage]) -> Iterator[tuple[str, ChainfoldError]]:
        """Hands these over and folds what comes until all of them have ended; which failed, and why."""
        fetcher = self._fetcher
        assert fetcher is not None  # `at_hand` or `ready` said so
        for stage in stages:
            stage.close()
        waited = [stage.name for stage in stages]
        try:
            fetcher.begin(
                {stage.lease.name: HeldLease(stage.lease.owner, stage.lease.epoch) for stage in stages}
            )
            while waited:
                folded = self._follow(fetcher)
                while waited and (not folded or fetcher.has_told()):
                    folded = True  # a fold may wait for what was reported
                    match fetcher.told():
                        case Relayed(event):
                            self.observe(event)
                        case Ended(name, error):
                            waited.remove(name)
                            if isinstance(error, ChainfoldError):
                                yield name, error
                                if isinstance(error, StoreError):
                                    return
                            elif error is not None:
                                raise error
        except FetchProcessLost as lost:
            yield waited[0], lost
        finally:
            self.close()

    def close(self) -> None:
        """Nothing of the process is left when this returns."""
        if self._fetcher is not None:
            self._fetcher.close()

    def _follow(self, fetcher: Fetcher) -> bool:
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
        """Restarts SQLite's write-ahead log, at a moment when this process reads nothing.

        The other process would do it if no process read while it commits, but this one reads a page nearly
        always: the log would grow until all is fetched. What fails now is tried again after the next page.
        """
        store = self._plan.store
        if store.sqlite and _size(f"{store.engine.url.database}-wal") > LOG:
            with suppress(sqlite3.Error, DBAPIError), closing(store.engine.raw_connection()) as connection:
                connection.cursor().execute("PRAGMA wal_checkpoint(TRUNCATE)")

    def _start(self) -> None:
        try:
            self._fetcher = Fetcher(self._task)
        except OSError:  # no process can be started: this one does everything, as on one core
            self._alone = True

    def _bears(self) -> bool:
        """Are there a second core, and memory for both?"""
        return cores() > 1 and resident() + FETCHING + LEAST <= self._plan.config.fold.memory


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
        """One step. A step that fails or does nothing is not reported: it comes again in the fold's turn."""
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
