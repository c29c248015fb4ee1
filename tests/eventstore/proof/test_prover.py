"""The journal is proved against a chain that commits to its logs, with any behaviour of the node."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from typing import Any

import pytest
from msgspec.structs import replace

from eventstore.ingest.ingestor import Ingestor
from eventstore.journal.history import Question, ask
from eventstore.journal.journal import Journal
from eventstore.journal.proofs import Disproof, Ledger
from eventstore.proof.header import Sealed
from eventstore.proof.profile import Profile
from eventstore.proof.proven import proven
from eventstore.proof.prover import SPAN, Proved, Prover
from eventstore.proof.repair import repair
from eventstore.records import BlockRange, Filter, Log, Watch
from eventstore.sources.rpc.source import RpcSource
from eventstore.sources.simulated.chain import Emission, SimulatedChain
from eventstore.sources.simulated.faults import Faults
from eventstore.sources.simulated.node import SimulatedNode
from eventstore.storage.lease import Lease
from eventstore.storage.store import Store
from tests.blocks import ALICE, BOB, TOPIC

CHAIN = 31_337
CAROL = bytes([0xC0]) * 20
WATCHES = [Watch(Filter(ALICE)), Watch(Filter(BOB))]


class Stand:
    """A store, a sealed chain of 60 blocks, 40 of them final, and the node that serves it."""

    def __init__(self, store: Store, stack: ExitStack) -> None:
        self.store = store
        self.faults = Faults()
        self.chain = SimulatedChain(sealed=True)
        for number in range(1, 61):
            logs = [Emission(who, (TOPIC,), bytes([number])) for who in (ALICE, BOB, CAROL)[: number % 4]]
            self.chain.mine(logs=logs if number % 3 else [])
        self.chain.finalize(40)
        self.node = stack.enter_context(SimulatedNode(self.chain, faults=self.faults))
        self.source = RpcSource(self.node.url)
        stack.callback(self.source.close)
        self.ingesting = Lease(store, f"ingest:{CHAIN}", owner="test||1|a").acquire()
        self.proving = Lease(store, f"prove:{CHAIN}", owner="test||1|b").acquire()

    def ingest(self, watches: Sequence[Watch] = WATCHES) -> None:
        ingestor = Ingestor(self.store, self.source, self.ingesting, chain_id=CHAIN, watches=watches)
        ingestor.open()
        while not ingestor.step().idle:
            pass
        ingestor.close()

    def prover(self, watches: Sequence[Watch] = WATCHES, **more: Any) -> Prover:
        options = {"chain": "main", "chain_id": CHAIN, "watches": watches, **more}
        return Prover(self.store, options.pop("source", self.source), self.proving, **options)

    def prove(self, watches: Sequence[Watch] = WATCHES, **more: Any) -> list[Proved]:
        """All steps to the end, the idle one included."""
        prover, steps = self.prover(watches, **more), list[Proved]()
        while not steps or not steps[-1].idle:
            steps.append(prover.step())
        prover.close()
        return steps

    def standing(self, watches: Sequence[Watch] = WATCHES) -> list[BlockRange]:
        with self.store.read() as tx:
            return proven(tx, CHAIN, watches)

    def disproofs(self) -> list[Disproof]:
        with self.store.read() as tx:
            return Ledger(tx, CHAIN).disproofs()

    def living(self) -> list[Log]:
        with self.store.read() as tx:
            return [item.log for item in ask(tx, CHAIN, Question())]

    def repair(self, number: int) -> str:
        header = self.chain.header(number)
        assert header is not None
        return repair(self.ingesting, self.source, number, header.hash, chain_id=CHAIN, watches=WATCHES)


@pytest.fixture
def stand(store: Store) -> Iterator[Stand]:
    with ExitStack() as stack:
        yield Stand(store, stack)


def told(chain: SimulatedChain, last: int) -> list[Log]:
    return [log for log in chain.logs_in(0, last) if log.address in (ALICE, BOB)]


def test_all_that_is_final_is_proven_in_the_order_newest_first(stand: Stand) -> None:
    stand.ingest()
    steps = stand.prove()
    assert [step.blocks for step in steps] == [BlockRange(0, 40), None]
    assert (steps[0].proven, steps[0].failed, steps[0].left) == (41, (), 0)
    filled = {log.block_number for log in told(stand.chain, 40)}
    assert steps[0].by_receipts >= len(filled)
    assert stand.standing() == [BlockRange(0, 40)]
    assert stand.prove() == [Proved("main")]


def test_what_becomes_final_later_is_proven_down_to_what_was(stand: Stand) -> None:
    stand.ingest()
    stand.prove()
    stand.chain.mine(3)
    stand.chain.finalize(50)
    stand.ingest()
    assert [step.blocks for step in stand.prove()] == [BlockRange(41, 50), None]
    assert stand.standing() == [BlockRange(0, 50)]


def test_a_proof_goes_on_where_another_process_left_it(stand: Stand, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("eventstore.proof.prover.SPAN", 7)
    stand.ingest()
    first = stand.prover().step()
    assert (first.blocks, first.left) == (BlockRange(34, 40), 34)
    rest = stand.prove()
    assert rest[0].blocks == BlockRange(27, 33)
    assert stand.standing() == [BlockRange(0, 40)]


def test_a_filter_that_came_later_is_proven_as_well_and_the_others_are_not_again(
    stand: Stand, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("eventstore.proof.prover.SPAN", 16)
    stand.ingest()
    stand.prove()
    late = [*WATCHES, Watch(Filter(CAROL), 10, 30)]
    stand.ingest(late)
    assert stand.standing(late) == [BlockRange(0, 9), BlockRange(31, 40)]
    blocks = [step.blocks for step in stand.prove(late)]
    assert {number for part in blocks if part for number in range(part.first, part.last + 1)} >= set(
        range(10, 31)
    )
    assert stand.standing(late) == [BlockRange(0, 40)]


@pytest.mark.parametrize("honest", [True, False], ids=["receipts are honest", "receipts lie too"])
@pytest.mark.parametrize(
    ("lie", "block", "said"),
    [
        ({"withheld": {(23, 1)}}, 23, "log 1 is missing"),
        ({"withheld": {(1, 0)}}, 1, "log 0 is missing"),
        ({"altered": {(22, 0)}}, 22, "log 0 differs in data"),
        ({"invented": {22}}, 22, "log 2 is not on the chain"),
    ],
    ids=["withheld", "withheld all", "altered", "invented"],
)
def test_a_lie_is_found_the_block_named_and_repaired_by_an_honest_node(
    stand: Stand, lie: Mapping[str, Any], block: int, said: str, *, honest: bool
) -> None:
    """Where the receipts lie as well, they do not hash to what the header commits to."""
    for name, value in lie.items():
        setattr(stand.faults, name, value)
    stand.faults.receipts_honest = honest
    stand.ingest()
    [disproof] = [item for step in stand.prove() for item in step.failed]
    assert (disproof.number, disproof.kind) == (block, "wrong")
    assert said in disproof.reason or (not honest and "are not those of its header" in disproof.reason)
    assert stand.standing() == [BlockRange(0, block - 1), BlockRange(block + 1, 40)]
    assert stand.disproofs()[0].number == block
    for name in lie:
        setattr(stand.faults, name, set())
    assert "as its receipts say" in stand.repair(block)
    stand.ingest()
    assert [item for step in stand.prove() for item in step.failed] == []
    assert stand.standing() == [BlockRange(0, 40)]
    assert stand.disproofs() == []
    assert stand.living() == told(stand.chain, 60)
    assert stand.repair(block) == f"block {block} is as its receipts say"


def test_a_reorg_takes_the_proof_of_what_left_the_chain_with_it(stand: Stand) -> None:
    """Also one below what was called final; down to the newest header that is known and still stands."""
    stand.ingest()
    stand.prove()
    stand.chain.reorg(30, logs=[[Emission(ALICE, (TOPIC,), b"new")]] * 32)
    stand.chain.finalize(55)
    stand.ingest()
    assert stand.standing() == [BlockRange(0, 30)]
    stand.prove()
    assert stand.standing() == [BlockRange(0, 55)]
    assert stand.living() == told(stand.chain, 62)


def test_logs_that_are_appended_later_take_the_proof_of_their_blocks_with_them(stand: Stand) -> None:
    stand.ingest()
    stand.prove()
    header = stand.chain.header(12)
    assert header is not None
    ghost = Log(12, 9, ALICE, (TOPIC,), b"", bytes(32), 0, header.hash)
    with stand.ingesting.commit() as tx:
        Journal(tx, CHAIN).append([ghost], {12: header})
    assert stand.standing() == [BlockRange(0, 11), BlockRange(13, 40)]
    [disproof] = [item for step in stand.prove() for item in step.failed]
    assert disproof.reason == "log 9 is not on the chain"
    assert "1 logs orphaned" in stand.repair(12)


class Meddling:
    """Evidence during whose gathering something else happens."""

    def __init__(self, source: RpcSource, meddle: Callable[[], object]) -> None:
        self._source = source
        self._meddle = meddle
        self.name = source.name

    def linked(self, blocks: BlockRange, top: bytes) -> list[Sealed]:
        found = self._source.linked(blocks, top)
        self._meddle()
        self._meddle = lambda: None
        return found

    def rooted(self, block: Sealed) -> Sequence[Mapping[str, Any]]:
        return self._source.rooted(block)


def test_a_proof_under_which_the_journal_moved_is_not_written(stand: Stand) -> None:
    stand.ingest()
    header = stand.chain.header(12)
    assert header is not None

    def append() -> None:
        ghost = Log(12, 9, ALICE, (TOPIC,), b"", bytes(32), 0, header.hash)
        with stand.ingesting.commit() as tx:
            Journal(tx, CHAIN).append([ghost], {12: header})

    first = stand.prover(source=Meddling(stand.source, append)).step()
    assert (first.proven, first.failed) == (0, ())
    assert stand.standing() == []
    assert [item.number for step in stand.prove() for item in step.failed] == [12]


@pytest.mark.parametrize("within", [None, BlockRange(0, 5)], ids=["proving", "on the way down"])
def test_a_proof_under_which_a_branch_without_logs_left_the_chain_is_not_written(
    stand: Stand, monkeypatch: pytest.MonkeyPatch, within: BlockRange | None
) -> None:
    """Nothing in the journal says so: there is nothing to orphan."""
    monkeypatch.setattr("eventstore.proof.prover.SPAN", 8)
    stand.chain.mine(20)
    stand.chain.finalize(75)
    stand.ingest()

    def leave() -> None:
        with stand.ingesting.commit() as tx:
            assert Journal(tx, CHAIN).orphan(70) is None

    step = stand.prover(source=Meddling(stand.source, leave), within=within).step()
    assert (step.proven, step.failed) == (0, ())
    assert stand.standing() == []
    with stand.store.read() as tx:
        assert Ledger(tx, CHAIN).anchor_above(0) is None


def test_a_block_whose_time_a_node_lied_about_is_named_and_repaired(stand: Stand) -> None:
    """Events without a time of their own are dated by it."""
    right = stand.chain.header(22)
    assert right is not None
    stand.ingest()
    with stand.ingesting.commit() as tx:
        journal = Journal(tx, CHAIN)
        journal.orphan(22, 22)
        journal.append(stand.chain.logs_in(22, 22), {22: replace(right, timestamp=17)})
    stand.ingest()
    [disproof] = [item for step in stand.prove() for item in step.failed]
    assert (disproof.number, disproof.reason) == (22, "its time is held as 17")
    assert "as its receipts say" in stand.repair(22)
    stand.ingest()
    assert [item for step in stand.prove() for item in step.failed] == []
    with stand.store.read() as tx:
        times = {item.timestamp for item in ask(tx, CHAIN, Question(first=22, last=22))}
    assert times == {right.timestamp}


def test_the_blocks_of_an_unknown_chain_are_proven_by_receipts_alone(stand: Stand) -> None:
    stand.ingest()
    steps = stand.prove(profile=Profile())
    assert (steps[0].proven, steps[0].by_receipts) == (41, 41)


def test_receipts_that_do_not_come_out_right_on_an_unknown_chain_leave_a_block_unproven(
    stand: Stand,
) -> None:
    """Its receipts may hash differently: that does not mean that the journal is wrong."""
    stand.ingest()
    stand.faults.withheld = {(23, 1)}
    [disproof] = [item for step in stand.prove(profile=Profile()) for item in step.failed]
    assert (disproof.number, disproof.kind) == (23, "unproven")


def test_a_chain_with_quirks_is_left_unproven_and_says_why(stand: Stand) -> None:
    stand.ingest()
    [only] = stand.prove(profile=Profile(reason="its blooms are all zero"))
    assert only.reason is not None
    assert "its blooms are all zero" in only.reason
    assert stand.standing() == []


@pytest.mark.parametrize(
    ("fault", "above"), [("zero_bloom", [BlockRange(39, 40)]), ("full_bloom", [])], ids=["zero", "full"]
)
def test_a_header_that_does_not_hash_right_proves_nothing_at_and_below_it(
    stand: Stand, fault: str, above: list[BlockRange]
) -> None:
    """All above it is proven: blocks without logs have a bloom of zeros rightly."""
    stand.ingest()
    setattr(stand.faults, fault, True)
    reasons = [step.reason for step in stand.prove()]
    assert reasons[-1] is not None
    assert "does not hash to what it says it does" in reasons[-1]
    assert stand.standing() == above
    assert [(item.number, item.kind) for item in stand.disproofs()] == [
        (above[0].first - 1 if above else 40, "unlinked")
    ]


def test_receipts_come_one_by_one_where_there_is_no_other_way_and_in_any_order(stand: Stand) -> None:
    stand.ingest()
    stand.faults.no_receipts = True
    assert stand.prove()[0].proven == 41
    stand.chain.finalize(50)
    stand.ingest()
    stand.faults.no_receipts, stand.faults.receipts_reordered = False, True
    assert stand.prove()[0].proven == 10


def test_only_the_blocks_that_were_asked_for_are_proven(
    stand: Stand, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The way down to them is linked, a span a step."""
    monkeypatch.setattr("eventstore.proof.prover.SPAN", 8)
    stand.ingest()
    steps = stand.prove(within=BlockRange(5, 14))
    assert sum(step.proven for step in steps) == 10
    assert stand.standing() == [BlockRange(5, 14)]


def test_a_span_is_what_a_few_batches_ask_for() -> None:
    assert SPAN % 100 == 0
