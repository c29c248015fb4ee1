"""The same lie has the same verdict, however a proof takes the blocks together and how often it is made."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from types import MappingProxyType
from typing import Any

import msgspec
import pytest
from msgspec import Struct
from sqlalchemy import text

from eventstore.errors import BlockUnknown
from eventstore.ingest.ingestor import Ingestor
from eventstore.journal.proofs import Ledger
from eventstore.proof import header
from eventstore.proof.profile import Profile, profile_of
from eventstore.proof.proven import proven
from eventstore.proof.prover import Prover
from eventstore.records import NO_END, BlockRange, Filter, Watch
from eventstore.report import Check
from eventstore.sources.rpc.call import Call, CallRefused
from eventstore.sources.rpc.client import RpcClient
from eventstore.sources.rpc.source import RpcSource
from eventstore.sources.simulated.chain import Emission, SimulatedChain
from eventstore.sources.simulated.node import SimulatedNode
from eventstore.storage.lease import Lease
from eventstore.storage.store import Store
from projections.service.alerts.checks import evidence
from projections.service.alerts.detection import Bad
from projections.service.config.alerts import Limits
from projections.service.verification import proofs
from tests.blocks import ALICE, TOPIC

CHAIN = 31_337
FINAL, LIED = 14, 8
WATCHES = [Watch(Filter(ALICE))]
EVERY = BlockRange(0, NO_END)
SPANS = (4, 500)

Json = dict[str, Any]


class Lie(Struct, frozen=True):
    """What a node does to the header, or to the receipts, of one block; `verdict` is what must be said."""

    name: str
    verdict: str
    of_header: Callable[[Json], Json | None] | None = None
    of_receipts: Callable[[list[Json]], list[Json] | None] | None = None


class Altered:
    """An endpoint whose answers about one block are not what they were. `known` are those it has given."""

    def __init__(self, node: RpcClient, lie: Lie, known: dict[Call, msgspec.Raw | CallRefused]) -> None:
        self._node = node
        self._lie = lie
        self._known = known
        self.name, self.requests = "a node", node.requests

    def ask(self, calls: Sequence[Call]) -> list[msgspec.Raw | CallRefused]:
        new = [call for call in calls if call not in self._known]
        self._known.update(zip(new, self._node.ask(new) if new else [], strict=True))
        return [self._told(call, self._known[call]) for call in calls]

    def close(self) -> None:
        self._node.close()

    def _told(self, call: Call, item: msgspec.Raw | CallRefused) -> msgspec.Raw | CallRefused:
        if isinstance(item, CallRefused) or item == b"null":
            return item
        found = msgspec.json.decode(item)
        if call.method == "eth_getBlockByNumber" and self._lie.of_header and found["number"] == hex(LIED):
            return msgspec.Raw(msgspec.json.encode(self._lie.of_header(found)))
        of_block = call.method == "eth_getBlockReceipts" and found and found[0]["blockNumber"] == hex(LIED)
        if of_block and self._lie.of_receipts:
            return msgspec.Raw(msgspec.json.encode(self._lie.of_receipts(found)))
        return item


class Stand:
    """A journal of what an honest node gave, and the node."""

    def __init__(self, store: Store, stack: ExitStack) -> None:
        self.store = store
        self._known: dict[Call, msgspec.Raw | CallRefused] = {}
        chain = SimulatedChain(sealed=True)
        for number in range(1, 19):
            chain.mine(
                logs=[Emission(ALICE, (TOPIC,), bytes([number, place])) for place in range(number % 3)]
            )
        chain.finalize(FINAL)
        self.url = stack.enter_context(SimulatedNode(chain)).url
        ingesting = Lease(store, f"ingest:{CHAIN}", owner="test||1|a").acquire()
        source = RpcSource(self.url)
        ingestor = Ingestor(store, source, ingesting, chain_id=CHAIN, watches=WATCHES)
        ingestor.open()
        while not ingestor.step().idle:
            pass
        ingestor.close()
        source.close()
        self.proving = Lease(store, f"prove:{CHAIN}", owner="test||1|b").acquire()

    def forget(self) -> None:
        with self.store.write() as tx:
            for table in ("proofs", "anchors", "disproofs"):
                tx.execute(text(f"DELETE FROM {table}"))

    def verdict(
        self, lie: Lie | None, *, profile: Profile, accepted: bool = False, within: BlockRange = EVERY
    ) -> Check:
        """What `verify events` says."""
        source = RpcSource(self.url)
        if lie is not None:
            told = Altered(source._node, lie, self._known)
            source._node = source._receipts._node = told  # type: ignore[assignment]
        prover = Prover(
            self.store, source, self.proving, chain="main", chain_id=CHAIN, watches=WATCHES, profile=profile
        )
        with self.proving.commit() as tx:
            Ledger(tx, CHAIN).forget_disproofs(EVERY)
        reason: str | None = None
        try:
            while not (record := prover.step()).idle:
                pass
            reason = record.reason
        except BlockUnknown as error:  # as the stage that is asked for a proof
            reason = str(error)
        prover.close()
        source.close()
        with self.store.read() as tx:
            failed = Ledger(tx, CHAIN).disproofs()
        return proofs.check(
            self.store,
            CHAIN,
            WATCHES,
            name="events main",
            chain="main",
            within=within,
            failed=failed,
            repaired=0,
            reason=reason or "",
            accepted=accepted,
        )

    def incidents(self, unprovable: Mapping[str, str | None] = MappingProxyType({})) -> list[str]:
        """What is wrong with the history, as a service that watches sees it."""
        with self.store.read() as tx:
            found = evidence(
                tx,
                chains={"main": CHAIN},
                projections=[],
                jobs=[],
                limits=Limits(),
                open_now=[],
                now=0,
                unprovable=unprovable,
            )
        return [seen.detail for seen in found.values() if isinstance(seen, Bad)]

    def standing(self) -> list[BlockRange]:
        with self.store.read() as tx:
            return proven(tx, CHAIN, WATCHES)


@pytest.fixture
def stand(sqlite_store: Store) -> Iterator[Stand]:
    with ExitStack() as stack:
        yield Stand(sqlite_store, stack)


# --- lies ---


def other(value: str) -> str:
    """A value of the same shape."""
    return value[:-1] + ("1" if value[-1] != "1" else "2") if len(value) > 2 else "0x01"


def field(name: str) -> Lie:
    return Lie(f"header {name}", "not proven", of_header=lambda told: {**told, name: other(told[name])})


def gone(name: str) -> Lie:
    return Lie(
        f"header without {name}",
        "not proven",
        of_header=lambda told: {key: value for key, value in told.items() if key != name},
    )


def receipt(name: str, change: Callable[[Json], Json], verdict: str = "wrong") -> Lie:
    return Lie(f"receipt {name}", verdict, of_receipts=lambda told: [change(told[0]), *told[1:]])


def log(name: str, change: Callable[[Json], Json]) -> Lie:
    return receipt(f"log {name}", lambda told: {**told, "logs": [change(told["logs"][0])]})


HASHED = [
    name
    for fields in (header._FIELDS, (("mixHash", 32), ("nonce", 8), ("baseFeePerGas", 0)))
    for name, _ in fields
]
LIES = [
    *(field(name) for name in (*HASHED, "hash")),
    *(gone(name) for name in (*HASHED, "hash")),
    Lie(
        "header of a later fork", "not proven", of_header=lambda told: {**told, "x": "0x1", "gasUsed": "0x1"}
    ),
    Lie("no header", "not proven", of_header=lambda told: None),
    *(
        receipt(name, lambda told, name=name: {**told, name: other(told[name])})  # type: ignore[misc]
        for name in ("status", "cumulativeGasUsed", "logsBloom", "type")
    ),
    *(
        receipt(f"without {name}", lambda told, name=name: {k: v for k, v in told.items() if k != name})  # type: ignore[misc]
        for name in ("status", "cumulativeGasUsed", "logsBloom", "logs")
    ),
    receipt("of another order", lambda told: {**told, "transactionIndex": "0x9"}),
    receipt("below zero", lambda told: {**told, "cumulativeGasUsed": "-0x1"}),
    log("address", lambda told: {**told, "address": other(told["address"])}),
    log("topics", lambda told: {**told, "topics": [other(told["topics"][0])]}),
    log("data", lambda told: {**told, "data": other(told["data"])}),
    Lie("receipts left out", "wrong", of_receipts=lambda told: told[1:]),
    Lie("receipts told twice", "wrong", of_receipts=lambda told: [*told, told[-1]]),
    Lie("receipts pruned", "not proven", of_receipts=lambda told: None),
]


@pytest.mark.parametrize("bloom", [True, False], ids=["sound blooms", "unknown chain"])
def test_the_same_lie_has_the_same_verdict_and_is_never_ok(
    stand: Stand, monkeypatch: pytest.MonkeyPatch, *, bloom: bool
) -> None:
    profile, seen = Profile(bloom=bloom), {}
    for lie in LIES:
        verdicts = []
        for span in SPANS:
            monkeypatch.setattr("eventstore.proof.prover.SPAN", span)
            stand.forget()
            for _ in range(2):
                verdicts.append((stand.verdict(lie, profile=profile), stand.standing()))
        first, standing = verdicts[0]
        assert all(verdict == (first, standing) for verdict in verdicts), (lie.name, verdicts)
        assert not first.ok, lie.name
        wanted = "wrong" if lie.verdict == "wrong" and bloom else "not proven"
        assert ("wrong" if first.differs else "not proven") == wanted, (lie.name, first)
        assert bool(first.error) == (wanted == "not proven"), (lie.name, first)
        above = BlockRange(LIED + 1, FINAL)
        below = [] if lie.of_header else [BlockRange(0, LIED - 1)]
        assert standing == [*below, above], lie.name
        seen[lie.name] = first
    forked = seen["header of a later fork"]
    assert "of no form that is known" in forked.error
    assert "does not hash" not in forked.error
    assert f"Not proven: blocks 0 to {LIED}. " in forked.error


def test_an_honest_node_proves_all(stand: Stand, monkeypatch: pytest.MonkeyPatch) -> None:
    for span in SPANS:
        monkeypatch.setattr("eventstore.proof.prover.SPAN", span)
        stand.forget()
        found = stand.verdict(None, profile=profile_of(CHAIN))
        assert (found.ok, found.checked, found.error, found.note) == (True, FINAL + 1, "", "")


def test_what_no_longer_fails_is_proven_and_forgotten(stand: Stand) -> None:
    """A header that came out after all takes what was written of it with it, and all below it is proven."""
    profile = profile_of(CHAIN)
    assert not stand.verdict(field("stateRoot"), profile=profile).ok
    with stand.store.read() as tx:
        [item] = Ledger(tx, CHAIN).disproofs()
    assert (item.number, item.kind) == (LIED, "unlinked")
    assert stand.verdict(None, profile=profile).ok
    with stand.store.read() as tx:
        assert Ledger(tx, CHAIN).disproofs() == []


def test_a_chain_with_quirks_is_unproven_unless_that_is_accepted_and_never_proven(
    stand: Stand, monkeypatch: pytest.MonkeyPatch
) -> None:
    quirk = Profile(reason="its blooms are all zero")
    monkeypatch.setattr("projections.service.verification.proofs.profile_of", lambda chain_id: quirk)
    found = stand.verdict(None, profile=quirk)
    assert (found.ok, found.checked, found.differs) == (False, 0, False)
    assert found.error == "Nothing can be proved on this chain: its blooms are all zero."
    taken = stand.verdict(None, profile=quirk, accepted=True)
    assert (taken.ok, taken.checked, taken.error) == (True, 0, "")
    assert taken.note == f"chains.main.accept_unproven: {found.error}"


def test_what_was_asked_for_and_is_not_final_or_not_fetched_is_not_ok(stand: Stand) -> None:
    found = stand.verdict(None, profile=profile_of(CHAIN), within=BlockRange(10, FINAL + 2))
    assert (found.ok, found.checked) == (False, FINAL - 9)
    assert found.error == f"Not final yet: blocks {FINAL + 1} to {FINAL + 2}."
    assert stand.verdict(None, profile=profile_of(CHAIN), within=BlockRange(3, FINAL)).ok
    with stand.store.write() as tx:
        tx.execute(text("UPDATE coverage SET first_block = 5"))
    found = stand.verdict(None, profile=profile_of(CHAIN), within=BlockRange(0, FINAL))
    assert not found.ok
    assert found.error == "Not fetched: blocks 0 to 4."
    found = stand.verdict(None, profile=profile_of(CHAIN))
    assert found.ok
    assert found.note == "Not fetched, so not looked at: blocks 0 to 4."


def test_nothing_looked_at_is_not_ok(sqlite_store: Store) -> None:
    found = proofs.check(
        sqlite_store,
        CHAIN,
        WATCHES,
        name="events main",
        chain="main",
        within=EVERY,
        failed=[],
        repaired=0,
        reason="",
        accepted=False,
    )
    assert not found.ok
    assert "nothing was looked at" in found.error


def test_what_is_accepted_is_no_lie_about_a_log(stand: Stand) -> None:
    """`accept_unproven` takes what cannot be proved, never what is proved wrong."""
    lie = next(lie for lie in LIES if lie.name == "receipts left out")
    found = stand.verdict(lie, profile=profile_of(CHAIN), accepted=True)
    assert (found.ok, found.differs) == (False, True)


@pytest.mark.parametrize("lie", [LIES[0], LIES[2 * len(HASHED) + 2]], ids=lambda lie: lie.name)
def test_a_header_that_does_not_come_out_is_one_incident_until_it_does_or_that_is_accepted(
    stand: Stand, lie: Lie
) -> None:
    for _ in range(2):
        stand.verdict(lie, profile=profile_of(CHAIN))
    [said] = stand.incidents()
    assert said.startswith(f"All at and below block {LIED} is unproven: ")
    assert stand.incidents({"main": None}) == []
    stand.verdict(None, profile=profile_of(CHAIN))
    assert stand.incidents() == []
    assert stand.incidents({"main": "its blooms are all zero"}) == [
        "Nothing can be proved on this chain: its blooms are all zero."
    ]
