"""One node's endpoint: the pace of its calls, and what it makes of refusals."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import requests

from eventstore.errors import SourceError
from eventstore.sources.rpc.call import Call, CallRefused
from eventstore.sources.rpc.client import RpcClient
from eventstore.sources.rpc.rate_limit import RateLimiter
from eventstore.sources.rpc.transport import Said
from eventstore.sources.simulated.chain import SimulatedChain
from eventstore.sources.simulated.node import SimulatedNode

HEAD = Call("eth_getBlockByNumber", ("latest", False))


@pytest.fixture
def node() -> Iterator[SimulatedNode]:
    with SimulatedNode(SimulatedChain()) as node:
        yield node


def slept(node: SimulatedNode, per_second: float, *requests: int) -> list[float]:
    """How long the calls wait in all, after each request of so many calls; no time passes otherwise."""
    waits: list[float] = []
    pace = RateLimiter(per_second, clock=lambda: sum(waits), sleep=waits.append)
    endpoint = RpcClient(node.url, timeout=5, max_batch=100, pace=pace)
    found = []
    for calls in requests:
        endpoint.ask([HEAD] * calls)
        found.append(sum(waits))
    endpoint.close()
    return found


def test_calls_wait_for_their_turn(node: SimulatedNode) -> None:
    assert slept(node, 4, 1, 1, 1) == [0, 0.25, 0.5]


def test_the_calls_of_a_batch_count_each(node: SimulatedNode) -> None:
    assert slept(node, 4, 4, 1) == [0, 1]


def test_a_batch_holds_no_more_than_a_seconds_worth(node: SimulatedNode) -> None:
    assert slept(node, 4, 10) == [2]
    assert node.requests == 3


def test_less_than_one_call_a_second_goes_one_by_one(node: SimulatedNode) -> None:
    assert slept(node, 0.5, 2) == [2]
    assert node.requests == 2


@pytest.mark.parametrize(
    ("code", "message"),
    [
        (-32601, "anything"),
        (-32004, "Method not supported"),
        (-32000, "the method eth_getBlockReceipts does not exist/is not available"),
        (-32600, "Unsupported method: eth_getBlockReceipts on ETH_MAINNET"),
        (None, 'The node failed: "Method disabled"'),
    ],
)
def test_a_method_that_is_not_there_shows_in_its_code_or_its_text(code: int | None, message: str) -> None:
    assert CallRefused(SourceError(message), code).no_such_method


@pytest.mark.parametrize(
    "message", ["query returned more than 10000 results", "limit exceeded", "block not found"]
)
def test_other_refusals_do_not_deny_the_method(message: str) -> None:
    assert not CallRefused(SourceError(message), -32005).no_such_method


@pytest.mark.parametrize(
    ("encoding", "body"),
    [("latin-1", b"caf\xe9 \n ferm\xe9"), (None, "café  fermé".encode()), ("klingon", b"caf? ferm?")],
)
def test_an_error_page_is_shown_as_its_encoding_says(encoding: str | None, body: bytes) -> None:
    response = requests.Response()
    response.encoding = encoding
    assert Said(response, body).page.replace("?", "é") == "café fermé"
