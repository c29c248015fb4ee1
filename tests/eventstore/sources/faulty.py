"""One backfill over a node with faults, to its end and after they are mended: how did it end?

python -m tests.eventstore.sources.faulty                  the table of docs/guarantees.md
python -m tests.eventstore.sources.faulty --seconds 600    random combinations of three until the time is over
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from random import Random
from typing import Literal

from msgspec import Struct

from eventstore.errors import SourceError, SourceUnavailable, StoreError
from eventstore.ingest.failed_ranges import FailedRanges
from eventstore.ingest.ingestor import Ingestor
from eventstore.ingest.window import Window
from eventstore.journal.coverage import Coverage
from eventstore.journal.history import Question, ask
from eventstore.journal.integrity import check_digests
from eventstore.journal.journal import Journal
from eventstore.records import BlockRange, Filter, Log, Query, Watch
from eventstore.sources.rpc.canary import Canary, KnownLog
from eventstore.sources.rpc.source import RpcSource
from eventstore.sources.simulated.chain import Emission, SimulatedChain
from eventstore.sources.simulated.faults import Faults
from eventstore.sources.simulated.node import SimulatedNode
from eventstore.storage.lease import Lease
from eventstore.storage.store import Store
from tests.blocks import ALICE, BOB, TOPIC
from tests.stores import migrated

CHAIN = 31_337
HEAD, FINAL = 90, 70
WATCHES = (Watch(Filter(ALICE)), Watch(Filter(BOB)))
STEPS = 250
STUCK = 25
"""Errors in a row after which it has stopped, and waits."""
SLOW = 0.5
"""Seconds until an HTTP request has timed out, where that is what is tried."""

Ending = Literal["exact", "waits", "gap", "linked"]

MEANS: dict[Ending, str] = {
    "exact": "exact",
    "waits": "stops before it, says why, goes on when it is mended",
    "gap": "a gap that names its blocks and the reason, filled when it is mended",
    "linked": "not to be seen in any answer: stays `linked`, is found when it is fetched again or proved",
}

FAULTS: dict[str, dict[str, object]] = {
    "range cap": {"range_cap": 7},
    "range cap, told in error.data only": {"range_cap": 7, "said_in": "data"},
    "result cap": {"result_cap": 9},
    "result cap with a suggestion": {"result_cap": 9, "suggestion": "good"},
    "result cap that suggests the same range": {"result_cap": 9, "suggestion": "equal"},
    "result cap that suggests an inverted range": {"result_cap": 9, "suggestion": "inverted"},
    "one block is too much": {"one_block_cap": 2},
    "a block by its hash is refused": {"block_refused": True},
    "eth_getLogs is refused for every request": {"logs_refused": True},
    "there is no eth_getLogs": {"no_logs_method": True},
    "wide ranges time out": {"slow_above": 5, "slow_seconds": 2 * SLOW},
    "wide ranges end in HTTP 413": {"gateway_cap": 5},
    "wide ranges end in HTTP 503": {"gateway_cap": 5, "gateway_status": 503},
    "a range above the head is refused": {"future_refused": True},
    "logs of new blocks come late": {"empty_near_head": 5, "empty_blocks": True, "filled_after": 2},
    "logs by block hash are never there": {"empty_blocks": True},
    "pruned, and says so": {"pruned_below": 30},
    "pruned, answered as empty": {"empty_below": 30},
    "silently cut at 25": {"truncate_at": 25},
    "silently cut at 100": {"truncate_at": 100},
    "a block is null": {"null_block": 40},
    "two nodes behind one address": {"backends": (0, 6)},
    "two nodes, and batches are split": {"backends": (0, 6), "batch_split": True},
    "a node that syncs": {"syncing": 60},
    "a node that lags": {"lag": 15},
    "finality has another hash": {"moved_finality": True},
    "every log has index 0": {"duplicate_log_index": True},
    "a log index beyond 64 bits": {"numbers": {(40, "logIndex"): 2**64, (80, "logIndex"): 2**63}},
    "a transaction index beyond 64 bits": {"numbers": {(80, "transactionIndex"): 2**70}},
    "a timestamp of a final block beyond 64 bits": {"numbers": {(40, "timestamp"): 2**64}},
    "a timestamp of a new block beyond 64 bits": {"numbers": {(80, "timestamp"): 2**64}},
    "log indexes begin again within a block": {"log_index_reset": True},
    "no blockTimestamp": {"no_log_timestamp": True},
    "blockTimestamp is zero": {"zero_log_timestamp": True},
    "logs are marked as removed": {"removed_logs": True},
    "removed logs come twice": {"removed_twice": True},
    "pending logs": {"pending_logs": True},
    "logs of orphaned blocks in a range": {"orphaned_logs": True},
    "a log of another block": {"stray_log": True},
    "orphaned hashes are still known": {"orphans_known": True},
    "an orphaned hash answers another block": {"orphans_known": True, "orphans_mixed": True},
    "two logs withheld": {"withheld": {(40, 0), (80, 0)}},
    "two logs withheld by eth_getLogs only": {"withheld": {(40, 0), (80, 0)}, "receipts_honest": True},
    "another chain id": {"wrong_chain": 5},
    "another genesis": {"wrong_genesis": True},
    "no finality tag": {"no_finalized_tag": True},
    "no bloom": {"no_bloom": True},
    "zero blooms with logs": {"zero_bloom": True},
    "blooms that say yes to all": {"full_bloom": True},
    "no eth_getBlockReceipts": {"no_receipts": True},
    "no receipts at all": {"no_receipts": True, "no_transaction_receipts": True},
    "receipts are null": {"receipts_null": True},
    "receipts are partial": {"receipts_partial": True, "full_bloom": True},
    "receipts are reordered": {"receipts_reordered": True, "full_bloom": True},
    "down": {"down": True},
    "throttled": {"throttled": 0.01},
    "three requests in ten fail": {"flaky": 0.3},
    "garbage for JSON": {"garbage_json": True},
    "truncated JSON": {"truncated_json": True},
    "batches in reverse": {"batch_reversed": True},
    "batches lack an answer": {"batch_incomplete": True},
    "batches are refused": {"batch_refused": True},
    "batches are capped": {"batch_cap": 3},
}

SILENT = {
    "pruned, answered as empty",
    "silently cut at 25",
    "silently cut at 100",
    "two logs withheld",
    "two logs withheld by eth_getLogs only",
    "logs by block hash are never there",
    "logs of new blocks come late",
    "zero blooms with logs",
    "no bloom",
    "receipts are partial",
}
"""Faults that may hide a log so that no answer shows it, alone or together with another one."""


class Verdict(Struct, frozen=True):
    """How a run ended while the faults were there, and what it said."""

    ending: Ending
    said: tuple[str, ...]
    requests: int


class Wrong(AssertionError):
    """A law does not hold."""


def chain(seed: int = 1) -> SimulatedChain:
    """Ninety blocks with up to five logs each, the first seventy final; some blocks were orphaned."""
    random = Random(seed)
    made = SimulatedChain(seed=seed)

    def logs() -> list[Emission]:
        return [
            Emission(random.choice((ALICE, BOB)), (TOPIC,), random.randbytes(8))
            for _ in range(random.choice((0, 1, 2, 3, 5)))
        ]

    for number in range(1, HEAD + 1):
        if number in (20, 60, 84):
            made.mine(logs=[Emission(ALICE, (TOPIC,), b"orphaned")])
            made.reorg(1, logs=[[Emission(ALICE, (TOPIC,), b"one"), *logs()]])
        elif number in (40, 80):
            made.mine(logs=[Emission(ALICE, (TOPIC,), b"first"), Emission(BOB, (TOPIC,), b"second")])
        else:
            made.mine(logs=logs())
    made.finalize(FINAL)
    return made


def run(names: Sequence[str], folder: Path, *, seed: int = 1) -> Verdict:
    """Ingests from a node with these faults until it rests or has stepped enough, mends them, goes on.

    Raises `Wrong` if the journal was ever silently wrong where an answer could have told, or does not end
    exactly as the chain is.
    """
    made = chain()
    faults = Faults(**{key: value for name in names for key, value in FAULTS[name].items()})  # type: ignore[arg-type]
    store = migrated(folder / f"{time.monotonic_ns()}.db")
    with SimulatedNode(made, seed=seed) as node:
        timeout = SLOW if faults.slow_above is not None else 30.0
        source = RpcSource(node.url, timeout=timeout, canary=Canary(_newest(store)))
        lease = Lease(store, f"ingest:{CHAIN}").acquire()
        stage = Ingestor(store, source, lease, chain_id=CHAIN, watches=WATCHES, window=Window(size=64))
        try:
            stage.open()
            node.faults = faults
            said, shown = _turn(stage, STEPS)
            ending = _judge(store, made, said, shown)
            requests = node.requests
            if ending == "linked" and not SILENT & set(names):
                raise Wrong(f"silently wrong: {_difference(store, made)}")
            node.faults = Faults()
            _mend(store, stage, made, linked=ending == "linked")
        finally:
            stage.close()
            source.close()
            store.close()
    return Verdict(ending, tuple(dict.fromkeys(said)), requests)


def _newest(store: Store) -> KnownLog:
    def newest(query: Query, where: BlockRange) -> Log | None:
        with store.read() as tx:
            return Journal(tx, CHAIN).newest(query, to=where.last)

    return newest


def _turn(stage: Ingestor, steps: int) -> tuple[list[str], int]:
    """Steps as a loop does, without its pauses; what was said, and the head that was shown last."""
    said: list[str] = []
    shown, errors = HEAD, 0
    opened = False
    for _ in range(steps):
        try:
            if not opened:
                stage.open()
                opened = True
            done = stage.step()
        except (SourceError, StoreError) as error:
            said.append(str(error))
            errors += 1
            if errors == STUCK:
                break
            continue
        errors = 0
        shown = done.head
        if done.failed is not None:
            said.append(done.reason)
        if done.idle:
            break
    return said, shown


def _judge(store: Store, made: SimulatedChain, said: Sequence[str], shown: int) -> Ending:
    stored = _stored(store)
    there = _there(made)
    if strange := stored - there:
        raise Wrong(f"not on the chain: {_named(strange)}")
    with store.read() as tx:
        coverage = Coverage(tx, CHAIN)
        gaps = [gap for watch in WATCHES for gap in coverage.gaps(watch, shown)]
        failed = FailedRanges(tx, CHAIN).all()
    uncovered = {number for gap in gaps for number in range(gap.first, gap.last + 1)}
    if any(log.block_number not in uncovered for log in there - stored if log.block_number <= shown):
        return "linked"
    if not gaps:
        return "exact"
    if not said and not failed:
        raise Wrong(f"blocks {min(uncovered)} to {max(uncovered)} are missing, and nothing was said")
    return "gap" if failed else "waits"


def _mend(store: Store, stage: Ingestor, made: SimulatedChain, *, linked: bool) -> None:
    """The node is well again: all must come right, where nothing showed it by a resync by force."""
    for _ in range(30):
        _turn(stage, 4 * STEPS)
        with store.write() as tx:
            if not FailedRanges(tx, CHAIN).hurry():
                break
    if linked:
        at = 0
        while at <= HEAD:
            with suppress(SourceUnavailable):  # a slow machine, where timeouts are short
                at = stage.resync(BlockRange(at, HEAD))[1] + 1
        _turn(stage, STEPS)
    if _stored(store) != _there(made):
        raise Wrong(f"not mended: {_difference(store, made)}")
    with store.read() as tx:
        coverage = Coverage(tx, CHAIN)
        if any(coverage.through(watch) < HEAD for watch in WATCHES):
            raise Wrong("a gap stays")
        if broken := check_digests(tx, CHAIN):
            raise Wrong(f"the journal's digests do not hold: {broken}")


def _stored(store: Store) -> set[Log]:
    with store.read() as tx:
        return {item.log for item in ask(tx, CHAIN, Question())}


def _there(made: SimulatedChain) -> set[Log]:
    return set(made.logs_in(0, made.head().number))


def _difference(store: Store, made: SimulatedChain) -> str:
    stored, there = _stored(store), _there(made)
    return f"missing {_named(there - stored)}, not on the chain {_named(stored - there)}"


def _named(logs: set[Log]) -> list[tuple[int, int]]:
    return sorted((log.block_number, log.log_index) for log in logs)


def table() -> list[str]:
    """The rows of docs/guarantees.md: what is wrong, and how it ends."""
    with tempfile.TemporaryDirectory(prefix="chainfold-faults-") as folder:
        return [f"| {name} | {MEANS[run([name], Path(folder)).ending]} |" for name in FAULTS]


def draw(random: Random) -> list[str]:
    """Three faults at once."""
    return random.sample(list(FAULTS), 3)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--seconds", type=float, default=0.0)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    say: Callable[[str], None] = print
    if not options.seconds:
        for row in ("| what the node does | how it ends |", "|---|---|", *table()):
            say(row)
        return 0
    until, count, wrong = time.monotonic() + options.seconds, 0, 0
    with tempfile.TemporaryDirectory(prefix="chainfold-faults-") as folder:
        while time.monotonic() < until:
            names = draw(Random(f"{options.seed} {count}"))
            count += 1
            try:
                run(names, Path(folder), seed=count)
            except Exception as error:  # noqa: BLE001 - any error is what we are looking for
                wrong += 1
                say(f"{names} (seed {count}): {type(error).__name__}: {error}")
    say(f"seed {options.seed}: {count} combinations, {wrong} wrong")
    return int(wrong > 0)


if __name__ == "__main__":
    raise SystemExit(main())
