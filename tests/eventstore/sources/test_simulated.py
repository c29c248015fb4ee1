"""The simulated chain: what its script may say, and that the same script gives the same chain."""

from __future__ import annotations

import pytest

from eventstore.sources.simulated.chain import Emission, SimulatedChain
from tests.blocks import ALICE, BOB, TOPIC


def scripted(seed: int = 0) -> SimulatedChain:
    chain = SimulatedChain(seed=seed)
    for _ in range(5):
        chain.emit(ALICE, [TOPIC])
        chain.mine()
    return chain


def test_the_same_script_gives_the_same_chain() -> None:
    assert scripted().head() == scripted().head()
    assert scripted().logs_in(0, 5) == scripted().logs_in(0, 5)


def test_another_seed_gives_another_chain() -> None:
    assert scripted(1).header(0) != scripted(2).header(0)


def test_blocks_are_twelve_seconds_apart() -> None:
    chain = scripted()
    genesis, first = chain.header(0), chain.header(1)
    assert genesis is not None
    assert first is not None
    assert first.timestamp - genesis.timestamp == 12


def test_what_is_queued_goes_into_the_first_block_mined() -> None:
    chain = SimulatedChain()
    chain.emit(ALICE, [TOPIC])
    chain.mine(3)
    assert [log.block_number for log in chain.logs_in(0, 3)] == [1]


def test_a_reorg_drops_the_logs_of_the_blocks_it_replaces() -> None:
    chain = scripted()
    fork = chain.reorg(2)
    assert [header.number for header in fork.orphaned] == [4, 5]
    assert [header.number for header in fork.adopted] == [4, 5]
    assert [log.block_number for log in chain.logs_in(0, 5)] == [1, 2, 3]


def test_a_reorg_may_mine_a_transaction_again_elsewhere() -> None:
    chain = scripted()
    [moved] = chain.logs_in(5, 5)
    chain.reorg(2, logs=[[moved], [Emission(BOB, (TOPIC,))], []])
    [again, new] = chain.logs_in(4, 6)
    assert (again.block_number, again.tx_hash) == (4, moved.tx_hash)
    assert (new.block_number, new.address) == (5, BOB)
    assert chain.head().number == 6


def test_two_reorgs_of_the_same_blocks_differ() -> None:
    chain = scripted()
    assert chain.reorg(1).adopted != chain.reorg(1).adopted


def test_an_orphaned_branch_can_come_back() -> None:
    chain = scripted()
    before, logs = chain.head(), chain.logs_in(0, 5)
    chain.reorg(3, logs=[[], []])
    fork = chain.switch(before.hash)
    assert fork.common.number == 2
    assert (chain.head(), chain.logs_in(0, 5)) == (before, logs)


def test_a_switch_to_a_lower_block_of_the_chain_shortens_it() -> None:
    chain = scripted()
    third = chain.header(3)
    assert third is not None
    fork = chain.switch(third.hash)
    assert (chain.head(), len(fork.orphaned), fork.adopted) == (third, 2, ())


def test_a_switch_to_the_head_changes_nothing() -> None:
    chain = scripted()
    fork = chain.switch(chain.head().hash)
    assert (fork.common, fork.orphaned, fork.adopted) == (chain.head(), (), ())


def test_an_orphaned_header_is_forgotten_but_its_logs_can_be_looked_up() -> None:
    chain = scripted()
    [orphaned] = chain.reorg(1).orphaned
    assert chain.header_of(orphaned.hash) is None
    assert len(chain.logs_of(orphaned.hash)) == 1


def test_the_genesis_block_cannot_be_reorganised() -> None:
    with pytest.raises(ValueError, match="5 blocks to reorganise"):
        scripted().reorg(6)


def test_nothing_is_final_until_it_is_said() -> None:
    chain = scripted()
    assert chain.finalized() is None
    chain.finalize(3)
    assert chain.finalized() == chain.header(3)


def test_what_no_chain_could_emit_is_refused() -> None:
    with pytest.raises(ValueError, match="20 bytes"):
        SimulatedChain().emit(b"short", [])
