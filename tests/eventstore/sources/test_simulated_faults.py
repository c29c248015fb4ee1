"""The faults of a simulated node, all of them together: each request is answered, and by the seed."""

from __future__ import annotations

from typing import Any

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from eventstore.sources.simulated.node import Faults, SimulatedNode
from tests.eventstore.sources.asking import by_hash, call, post, scripted, span

few = st.integers(0, 12)
SWITCHES = {
    field.name: st.booleans() for field in msgspec.structs.fields(Faults) if field.default is False
} | {
    "range_cap": st.none() | few,
    "result_cap": st.none() | few,
    "one_block_cap": st.none() | few,
    "gateway_cap": st.none() | few,
    "pruned_below": st.none() | few,
    "suggestion": st.sampled_from(["none", "good", "equal", "inverted"]),
    "said_in": st.sampled_from(["message", "data"]),
    "empty_near_head": few,
    "filled_after": st.none() | few,
    "empty_below": st.none() | few,
    "truncate_at": st.none() | few,
    "withheld": st.sets(st.tuples(few, st.integers(0, 2))),
    "lag": few,
    "syncing": few,
    "backends": st.tuples(few, few),
    "null_block": st.none() | few,
    "flaky": st.floats(0, 0.3),
}
QUESTIONS = [
    call("eth_chainId"),
    call("eth_getBlockByNumber", "latest", True),
    call("eth_getBlockByNumber", "finalized", False),
    call("eth_getLogs", span(2, 9)),
    call("eth_getLogs", span(10, 14)),
    call("eth_getLogs", by_hash(scripted(), 4)),
    call("eth_getLogs", by_hash(scripted(), 9)),
    call("eth_getBlockReceipts", "0x4"),
    call("eth_getTransactionReceipt", "0x" + scripted().logs_in(9, 9)[0].tx_hash.hex()),
]


@settings(max_examples=25, deadline=None)
@given(st.fixed_dictionaries({}, optional=SWITCHES), st.integers(0, 5))
def test_whatever_is_combined_each_request_is_answered_and_by_the_seed(
    switched: dict[str, Any], seed: int
) -> None:
    def answers() -> list[tuple[int, bytes]]:
        chain = scripted()
        chain.reorg(3)
        with SimulatedNode(chain, faults=Faults(**switched), seed=seed) as node:
            found = [post(node, question) for question in [*QUESTIONS, QUESTIONS]]
        return [(response.status_code, response.content) for response in found]

    said = answers()
    assert {status for status, _ in said} <= {200, 413, 503}
    assert answers() == said
