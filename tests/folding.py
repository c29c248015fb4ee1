"""A chain, a journal and a fold in one hand: what the tests of the read side are typed with."""

from __future__ import annotations

from typing import Any

from msgspec import Struct
from sqlalchemy import text

from eventstore.journal.coverage import Covered
from eventstore.journal.journal import Journal
from eventstore.journal.reading import StoredBlock
from eventstore.journal.tail import Tail
from eventstore.records import BlockRange, Filter, Header, Log, Watch
from eventstore.storage.lease import Lease
from eventstore.storage.store import Store
from projections.decoding.event import parse
from projections.fold.fold import Projection
from projections.fold.operations import Operations
from projections.fold.runner import Folded, Runner
from projections.projectors.referrals import Referrals
from projections.routing.routes import bind
from tests.blocks import ALICE, hash_, header

CHAIN = 1
FLAGSHIP = parse("ReferralRegistered(address indexed user, address indexed referrer, uint256 timestamp)")
TOPIC = FLAGSHIP.topic0


class Registered(Struct, frozen=True):
    """What the referral projector reads of an event."""

    user: str
    referrer: str | None
    timestamp: int | None
    block: StoredBlock


def address(number: int) -> str:
    """The address of user `number`; 0 is the zero address."""
    return f"0x{number:040x}"


def registration(block: int, index: int, user: int, referrer: int, *, branch: str = "a") -> Log:
    """A log that registers `user` with `referrer`."""
    topics = (TOPIC, user.to_bytes(32, "big"), referrer.to_bytes(32, "big"))
    return Log(block, index, ALICE, topics, (7).to_bytes(32, "big"), b"\x01" * 32, 0, hash_(block, branch))


def referrals(**options: Any) -> Projection:
    """The referral projection over the one contract of these tests."""
    projector = Referrals()
    routes = bind(projector, addresses=[ALICE], events=[FLAGSHIP], roles={}, where="tests")
    return Projection(
        "referrals",
        CHAIN,
        projector,
        {route.kind: route for route in routes},
        (Watch(Filter(ALICE, TOPIC)),),
        **{"fingerprint": "f1"} | options,
    )


class Bench:
    """A store with a journal that is written by hand, and a runner over it."""

    def __init__(self, store: Store, **options: Any) -> None:
        self.store = store
        self.projection = referrals(**options)
        self.lease = Lease(store, "project:referrals").acquire()
        self.runner = Runner(store, self.lease, self.projection, batch=7)

    @property
    def operations(self) -> Operations:
        return Operations(self.runner)

    def append(self, logs: list[Log], *, to: int, branch: str = "a", finalized: int | None = None) -> None:
        """Appends logs and covers everything up to `to`."""
        blocks = {item.block_number: header(item.block_number, branch) for item in logs}
        with self.store.write() as tx:
            covered = [Covered(Filter(ALICE), BlockRange(0, to))]
            Journal(tx, CHAIN).append(logs, blocks, covered)
            if finalized is not None:
                Tail(tx, CHAIN).finalize(Header(finalized, hash_(finalized, branch), b"\x00" * 32, 0))
            tx.execute(
                text(
                    "INSERT INTO progress VALUES (:chain, :head, 0, NULL) "
                    "ON CONFLICT (chain_id) DO UPDATE SET head = excluded.head"
                ),
                {"chain": CHAIN, "head": to},
            )

    def orphan(self, first: int) -> None:
        with self.store.write() as tx:
            Journal(tx, CHAIN).orphan(first)

    def fold(self) -> list[Folded]:
        """Steps until idle."""
        done = []
        for _ in range(500):
            done.append(self.runner.step())
            if done[-1].idle:
                return done
        raise AssertionError("the runner does not come to rest")
