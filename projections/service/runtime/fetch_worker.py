"""The process that fetches next to the process that folds: what it receives, what it reports, what it does.

Law: it owns no rule. It turns the ingesters that it receives as `sync` itself does, under the leases of the
process that started it: a process that takes those leases over after that one is gone fences this one too. It
ends when that process does. Both are ours, on one machine, over a pipe that no other process has: they speak
pickle, which keeps the types of errors; no key stands on a command line.
"""

from __future__ import annotations

import os
import resource
import sys
import threading
import traceback
from collections.abc import Mapping
from contextlib import suppress
from multiprocessing.connection import Connection
from pathlib import Path
from typing import NoReturn

from msgspec import Struct
from msgspec.structs import replace

from eventstore.errors import ChainfoldError, StoreError
from eventstore.ingest.window import Window
from projections.service.config.settings import Config
from projections.service.runtime.loops import Failed, Stepped, persist, to_end
from projections.service.runtime.stages import IngestStage
from projections.service.runtime.wiring import Plan

WINDOW = Window(size=250, enough=5_000)
"""Narrower ranges than a process asks for that has the memory to itself: a quarter of the logs in flight."""


class Span(Struct, frozen=True):
    """What of the chains a command is about: blocks, and one contract or all."""

    first: int | None = None
    last: int | None = None
    contract: str | None = None


class FetchTask(Struct, frozen=True):
    """What is fetched, and how often what may heal is tried."""

    config: Config
    span: Span
    tries: int


class HeldLease(Struct, frozen=True):
    """A lease as it was taken by the process that lends it."""

    owner: str
    epoch: int


class Begin(Struct, frozen=True):
    """The word to begin: the leases of the stages to turn, by name."""

    leases: Mapping[str, HeldLease]


class FetchReady(Struct, frozen=True):
    """Everything is imported and made; `resident` bytes of memory are in use."""

    resident: int


class Relayed(Struct, frozen=True):
    """What a stage told its observer, while `resident` bytes of memory were in use."""

    event: Stepped | Failed
    resident: int


class Ended(Struct, frozen=True):
    """A stage is at its end, or in `error`, which is raised where the stage's own would have been."""

    stage: str
    error: Exception | None


def resident() -> int:
    """Bytes of memory that this process has now; where the system does not tell, the most it ever had."""
    try:
        pages = int(Path("/proc/self/statm").read_text("ascii").split()[1])
    except OSError:
        most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return most if sys.platform == "darwin" else most * 1024
    return pages * os.sysconf("SC_PAGE_SIZE")


def main(handle: int) -> None:
    """Serves the process at the other end of the pipe, and ends with it."""
    parent = Connection(handle)
    with suppress(EOFError, OSError):  # that process has ended, before there was anything to do
        task: FetchTask = parent.recv()
        span = task.span
        try:
            plan = Plan(replace(task.config, projections={}))
            stages = plan.ingest(first=span.first, last=span.last, contract=span.contract, window=WINDOW)
        except ChainfoldError:
            return  # the command comes to the same, and says so
        parent.send(FetchReady(resident()))
        begin: Begin = parent.recv()
        threading.Thread(target=_end_with, args=(parent,), name="parent", daemon=True).start()
        for stage in stages:
            lent = begin.leases.get(stage.lease.name)
            if lent is None:
                continue
            stage.lease.owner, stage.lease.epoch = lent.owner, lent.epoch
            error = _turned(stage, parent, tries=task.tries)
            _say(parent, Ended(stage.name, error))
            if isinstance(error, StoreError):
                return


def _turned(stage: IngestStage, parent: Connection, *, tries: int) -> Exception | None:
    """Turns a stage to its end; what it raised, with the traceback for who asks for that."""

    def observe(event: Stepped | Failed) -> None:
        _say(parent, Relayed(event, resident()))

    try:
        persist(stage, stage.open, observe, tries=tries)
        to_end(stage, observe, tries=tries)
    except ChainfoldError as error:
        error.add_note(f"It was raised in the process that fetches:\n{traceback.format_exc()}")
        return error
    except Exception as error:  # noqa: BLE001 - a fault of ours: the command ends with it, as with one of its own
        return RuntimeError(f"{type(error).__name__} in the process that fetches:\n{traceback.format_exc()}")
    finally:
        stage.close()
    return None


def _say(parent: Connection, message: object) -> None:
    try:
        parent.send(message)
    except OSError:
        _end()


def _end_with(parent: Connection) -> None:
    """Waits until the other process is gone, or wants no more of this one, and ends at once: what is not
    committed is as if it had never been asked for."""
    with suppress(EOFError, OSError):
        parent.recv()
    _end()


def _end() -> NoReturn:
    os._exit(0)
