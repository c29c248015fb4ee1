"""Random schedules for as long as one likes, and what each clause of the laws is good for.

    python -m tests.properties.chaos --seconds 600 --seed 7     schedules until the time is over
    python -m tests.properties.chaos --store postgresql         on databases of a server of its own
    python -m tests.properties.chaos --mutate all               leaves each clause out, one at a time

A schedule that fails is made as short as it can be, and printed so that `play` takes it as it is.
"""

from __future__ import annotations
import __future__

import argparse
import inspect
import sys
import tempfile
import textwrap
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from random import Random
from typing import Any

from msgspec import Struct

from eventstore.journal.journal import Journal
from eventstore.storage.lease import Lease
from projections.fold.fold import Fold
from projections.fold.generation import Generations
from projections.fold.runner import Runner
from projections.publish.publisher import Publisher
from tests.properties.grounds import Databases, Files, Grounds
from tests.properties.machine import VERBS, World
from tests.servers.postgres import running

Line = tuple[str, dict[str, int]]
SHRINKING = 60.0
"""Seconds spent on making a failing schedule shorter."""


class Schedule(Struct, frozen=True):
    """What is done to a world of this style."""

    style: int
    lines: list[Line]


class Clause(Struct, frozen=True):
    """A clause of docs/laws.md, and the edits of the source that leave it out."""

    law: str
    edits: list[tuple[type, str, str, str]]  # class, method, text, the text in its place


def draw(random: Random) -> Schedule:
    """A random schedule; every other one begins with a chain, so that little is wasted on empty worlds."""
    names = list(VERBS)
    weights = [weight for weight, _ in VERBS.values()]
    lines: list[Line] = []
    if random.random() < 0.7:
        lines = [("mine", {"n": 3, "seed": 3}), ("finalise", {"behind": random.randint(0, 4)})]
        lines += [("settle", {"short": 0})] * random.randint(0, 1)
    for name in random.choices(names, weights, k=random.randint(5, 60)):
        _, ranges = VERBS[name]
        lines.append((name, {key: random.randint(*span) for key, span in ranges.items()}))
    return Schedule(random.randint(0, 59), lines)


def play(schedule: Schedule, grounds: Grounds) -> Exception | None:
    """Runs a schedule in a new world; returns what went wrong."""
    world = World(grounds.fresh(), style=schedule.style)
    try:
        for name, arguments in schedule.lines:
            world.do(name, **arguments)
        world.finish()
    except Exception as error:  # noqa: BLE001 - any error is what we are looking for
        return error
    finally:
        world.close()
    return None


def shrink(schedule: Schedule, grounds: Grounds, *, kind: type[Exception]) -> Schedule:
    """A shorter schedule that still fails in the same kind of way."""
    until = time.monotonic() + SHRINKING
    lines, size = schedule.lines, max(1, len(schedule.lines) // 2)
    while time.monotonic() < until:
        start, shorter = 0, False
        while start < len(lines) and time.monotonic() < until:
            fewer = [*lines[:start], *lines[start + size :]]
            if isinstance(play(Schedule(schedule.style, fewer), grounds), kind):
                lines, shorter = fewer, True
            else:
                start += size
        if size == 1 and not shorter:
            break
        size = max(1, size // 2)
    return Schedule(schedule.style, lines)


def search(seed: int, seconds: float, grounds: Grounds) -> tuple[int, Schedule | None, Exception | None]:
    """Plays random schedules until one fails or the time is over; how many it played, and the failure."""
    until, count = time.monotonic() + seconds, 0
    while time.monotonic() < until:
        schedule = draw(Random(f"{seed} {count}"))
        count += 1
        error = play(schedule, grounds)
        if error is not None:
            return count, schedule, error
    return count, None, None


# --- leaving a clause out ---

_SUBTRACT = (Journal, "append", "self._subtract_living(logs, blocks)", "list(logs)")

CLAUSES = {
    "subtract": Clause("2, an append subtracts what lives", [_SUBTRACT]),
    "rise": Clause(
        "2, and with it: a runner halts where (block, index) does not rise",
        [_SUBTRACT, (Fold, "page", "if log.log_index <= last:", "if False:")],
    ),
    "void": Clause(
        "3, an orphaning voids coverage",
        [(Journal, "orphan", "Coverage(self._tx, self._chain).void_from(first)", "pass")],
    ),
    "unit": Clause(
        "3, the unit of repair is the block, for logs of any entries",
        [
            (
                Journal,
                "orphan",
                '+ " ORDER BY number, entry"',
                '+ " AND entry = (SELECT max(b.entry) FROM blocks b WHERE b.chain_id = l.chain_id "'
                ' "AND b.number = l.number) ORDER BY number, entry"',
            )
        ],
    ),
    "snapshot": Clause(
        "5, the change is asked for within the snapshot that the logs are read from",
        [
            (
                Runner,
                "_advance",
                "        finalized = Tail(tx, own.chain_id).finalized()\n",
                "    with self.store.read() as tx:\n"
                "        journal = Journal(tx, own.chain_id)\n"
                "        entry = journal.head()\n"
                "        finalized = Tail(tx, own.chain_id).finalized()\n",
            )
        ],
    ),
    "filters": Clause(
        "5, of its own filters",
        [
            (
                Runner,
                "_advance",
                "journal.lowest_change(ahead.cursor.entry, routes)",
                "journal.lowest_change(ahead.cursor.entry, range(1, 100))",
            )
        ],
    ),
    "cache": Clause(
        "7, a failed commit drops what is cached", [(Runner, "step", "self._documents.clear()", "pass")]
    ),
    "commit": Clause(
        "7, what is cached is valid only for the commit it came from",
        [(Runner, "_tracked", "or digest != generation.digest", "")],
    ),
    "promote": Clause(
        "8, promoting adds the keys that differ",
        [
            (
                Generations,
                "promote",
                "Changes(self._tx, self._projection).mark_differing(",
                "(lambda *nothing, **named: 0)(",
            )
        ],
    ),
    "fence": Clause(
        "9, every commit begins with the lease", [(Lease, "_own", "changed.rowcount != 1", "False")]
    ),
    "marker": Clause(
        "8, the marker in the sink is the cursor",
        [
            (
                Publisher,
                "_step",
                "marker = self._sink.marker()",
                'marker = getattr(self._store, "cursor", None) or self._sink.marker()',
            ),
            (
                Publisher,
                "_send",
                "self._sink.mark(ahead, old=marker)",
                "self._store.cursor = ahead; self._sink.mark(ahead, old=self._sink.marker())",
            ),
        ],
    ),
}


@contextmanager
def without(clause: Clause) -> Iterator[None]:
    """The packages as they would be if somebody had forgotten this clause."""
    originals: list[tuple[type, str, Any]] = []
    for owner, name, old, new in clause.edits:
        method = getattr(owner, name)
        source = textwrap.dedent(inspect.getsource(method))
        if source.count(old) != 1:
            raise SystemExit(f"{owner.__name__}.{name} does not hold exactly one {old!r}: mend CLAUSES.")
        originals.append((owner, name, owner.__dict__[name]))
        scope: dict[str, Any] = {}
        code = compile(
            source.replace(old, new), "<mutant>", "exec", flags=__future__.annotations.compiler_flag
        )
        exec(code, inspect.unwrap(method).__globals__, scope)
        setattr(owner, name, scope[name])
    try:
        yield
    finally:
        for owner, name, method in reversed(originals):
            setattr(owner, name, method)


def main(arguments: Sequence[str] | None = None) -> int:
    """0: all held (or each left-out clause was caught); 1 otherwise."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--seed", type=int, default=None)
    parser.add_argument("--store", choices=["sqlite", "postgresql"], default="sqlite")
    parser.add_argument("--mutate", choices=[*CLAUSES, "all"])
    options = parser.parse_args(arguments)
    seed = options.seed if options.seed is not None else time.time_ns() % 10**6
    with _grounds(options.store) as grounds:
        if options.mutate:
            return _mutate(options.mutate, seed, options.seconds, grounds)
        count, failing, error = search(seed, options.seconds, grounds)
        print(f"seed {seed}, {options.store}: {count} schedules")
        if failing is None or error is None:
            return 0
        shorter = shrink(failing, grounds, kind=type(error))
        again = play(shorter, grounds) or error
        print(f"the last one fails with {type(again).__name__}: {again}")
        print(f"Schedule({shorter.style}, [")
        for line in shorter.lines:
            print(f"    {line!r},")
        print("])")
        return 1


@contextmanager
def _grounds(store: str) -> Iterator[Grounds]:
    if store == "sqlite":
        with tempfile.TemporaryDirectory(prefix="chainfold-chaos-") as folder:
            yield Files(Path(folder))
    else:
        with running() as server:
            yield Databases(server)


def _mutate(which: str, seed: int, seconds: float, grounds: Grounds) -> int:
    missed = 0
    for name in CLAUSES if which == "all" else [which]:
        with without(CLAUSES[name]):
            count, _, error = search(seed, seconds, grounds)
        caught = "NOT CAUGHT" if error is None else f"caught: {type(error).__name__}: {error}"
        print(f"{name:12} law {CLAUSES[name].law}\n{'':12} {count} schedules, {caught.splitlines()[0][:120]}")
        sys.stdout.flush()
        missed += error is None
    return int(missed > 0)


if __name__ == "__main__":
    sys.exit(main())
