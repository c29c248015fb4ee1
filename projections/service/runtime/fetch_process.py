"""The process that fetches, seen from the process that folds.

A new process imports everything again, which takes most of a second. A command that may need one therefore
forks it at its beginning, while it has no thread and no connection that a fork would break: the fork shares
what is imported, waits, and is there at once. Where no fork is possible, a process is started when that is
known to pay.
"""

from __future__ import annotations

import gc
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from multiprocessing import Pipe, get_context
from multiprocessing.connection import Connection

from eventstore.errors import ChainfoldError
from eventstore.storage.store import Store
from projections.service.runtime.fetch_worker import (
    Begin,
    Ended,
    FetchReady,
    FetchTask,
    HeldLease,
    Relayed,
    main,
)

PATIENCE = 0.0
"""Seconds that a step here waits for the process to be there: none, for meanwhile there is work to do."""

FETCHING = 192 * 2**20
"""Bytes of memory that the process which fetches takes, as measured."""


class FetchProcessLost(ChainfoldError):
    """The process that fetched beside this one has ended before its work did."""


class Fetcher:
    """One process and the pipe to it; close it in any case. Raises `OSError` if no process can be started."""

    def __init__(self, task: FetchTask, *, fork: bool = False) -> None:
        self.resident = FETCHING
        self._pipe, theirs = Pipe()
        self.pid, self._kill, self._wait = (_forked if fork else _started)(self._pipe, theirs)
        theirs.close()
        self._is_ready = False
        with suppress(OSError):  # one that has ended already will never be ready
            self._pipe.send(task)

    def is_ready(self) -> bool:
        """Has it imported what it needs? One that has ended never will: then all is done here."""
        try:
            if not self._is_ready and self._pipe.poll(PATIENCE):
                self._is_ready = isinstance(self._pipe.recv(), FetchReady)
        except (EOFError, OSError):
            return False
        return self._is_ready

    def begin(self, leases: dict[str, HeldLease]) -> None:
        """Has it fetch under these leases; `FetchProcessLost` where it has ended."""
        try:
            self._pipe.send(Begin(leases))
        except OSError as error:
            raise self._lost() from error

    def has_told(self) -> bool:
        return self._pipe.poll()

    def told(self) -> Relayed | Ended:
        """The next message, waited for; `FetchProcessLost` where the process has ended without one."""
        try:
            message: FetchReady | Relayed | Ended = self._pipe.recv()
            if isinstance(message, FetchReady):
                message = self._pipe.recv()
        except (EOFError, OSError) as error:
            raise self._lost() from error
        assert not isinstance(message, FetchReady)  # it is said once
        if isinstance(message, Relayed):
            self.resident = message.resident
        return message

    def _lost(self) -> FetchProcessLost:
        code = self._wait()
        how = f"was killed by signal {-code}" if code < 0 else f"ended with exit code {code}"
        return FetchProcessLost(
            f"The process that fetches beside this one {how}.",
            hint="Nothing is lost: run `chainfold sync` again. If memory is short, lower fold.memory.",
        )

    def close(self) -> None:
        """Nothing of the process is left when this returns."""
        self._pipe.close()
        self._kill()
        self._wait()


@contextmanager
def at_hand(task: FetchTask, store: Store) -> Iterator[Fetcher | None]:
    """A process that waits for its word, forked from this one, which has only this store open; None where
    there is one core, or a thread besides this one, whose locks a fork would leave taken for ever."""
    fetcher = None
    if cores() > 1 and _threads() == 1:
        import eventstore.sources.rpc.source  # noqa: F401 - once for both: half a second

        store.close()  # SQLite in a fork would count on locks that only the other process has; it opens again
        with suppress(OSError):  # no process can be started: this one does everything
            fetcher = Fetcher(task, fork=True)
    try:
        yield fetcher
    finally:
        if fetcher is not None:
            fetcher.close()


def cores() -> int:
    """How many cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _threads() -> int:
    """How many threads this process has, those of libraries too; none where the system does not tell."""
    try:
        return len(os.listdir("/proc/self/task"))
    except OSError:
        return 0


Process = tuple[int, Callable[[], None], Callable[[], int]]
"""Its pid, how it is killed, and how it is waited for: its exit code, or minus the signal that killed it."""


def _started(_ours: Connection, theirs: Connection) -> Process:
    handle = theirs.fileno()
    said = f"from projections.service.runtime.fetch_worker import main; main({handle})"
    process = subprocess.Popen(
        [sys.executable, "-P", "-c", said],  # -P: a folder `projections` where we are is not ours
        stdin=subprocess.DEVNULL,
        pass_fds=[handle],
        start_new_session=True,  # an interrupt from the terminal is for us, who end it
    )
    return process.pid, process.kill, process.wait


def _forked(ours: Connection, theirs: Connection) -> Process:
    gc.freeze()  # what is imported stays: neither process looks through it, nor copies its pages for that
    process = get_context("fork").Process(target=_fetch, args=(ours, theirs), daemon=True)
    process.start()

    def wait() -> int:
        process.join()
        return process.exitcode or 0

    assert process.pid is not None  # it was started
    return process.pid, process.kill, wait


def _fetch(ours: Connection, theirs: Connection) -> None:
    """In the forked process, which leaves the terminal, and all that the other one does when it ends."""
    os.setsid()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_DFL)
    ours.close()  # or it would never see that the other process is gone
    main(theirs.fileno())
    os._exit(0)  # nothing that it copied is its own to close
