"""What a node calls final: by a tag, by a depth, by neither yet."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import msgspec
import pytest
import requests

from eventstore.errors import Throttled
from eventstore.sources.rpc.call import CallRefused
from eventstore.sources.rpc.refusals import classify
from eventstore.sources.rpc.source import UNTAGGED_DEPTH, RpcSource
from eventstore.sources.simulated.chain import SimulatedChain
from eventstore.sources.simulated.http import Port, Response
from eventstore.sources.simulated.node import SimulatedNode


@pytest.fixture
def chain() -> SimulatedChain:
    chain = SimulatedChain()
    chain.mine(10)
    return chain


@pytest.fixture
def node(chain: SimulatedChain) -> Iterator[SimulatedNode]:
    with SimulatedNode(chain) as node:
        yield node


@pytest.fixture
def source(node: SimulatedNode) -> Iterator[RpcSource]:
    source = RpcSource(node.url, timeout=5)
    yield source
    source.close()


def test_the_finalized_tag_is_followed(source: RpcSource, chain: SimulatedChain) -> None:
    chain.finalize(6)
    assert source.finalized() == chain.header(6)


def test_nothing_is_final_before_the_node_says_so(source: RpcSource) -> None:
    assert source.finalized() is None


def test_nothing_is_final_on_a_node_without_the_tag(node: SimulatedNode, source: RpcSource) -> None:
    node.faults.no_finalized_tag = True
    assert source.finalized() is None


def test_throttling_is_not_taken_for_a_missing_tag(node: SimulatedNode, source: RpcSource) -> None:
    node.faults.throttled = 1
    with pytest.raises(Throttled):
        source.finalized()


@pytest.mark.parametrize(("depth", "final"), [(0, 10), (3, 7), (10, 0)])
def test_a_depth_is_counted_from_the_head(
    node: SimulatedNode, chain: SimulatedChain, depth: int, final: int
) -> None:
    source = RpcSource(node.url, finality=depth)
    assert source.finalized() == chain.header(final)
    source.close()


def test_nothing_is_final_on_a_chain_shorter_than_the_depth(node: SimulatedNode) -> None:
    source = RpcSource(node.url, finality=11)
    assert source.finalized() is None
    source.close()


REFUSALS = [
    (-32602, "invalid argument 0: hex string without 0x prefix"),
    (-32603, 'strconv.ParseUint: parsing "finalized": invalid syntax'),
    (-32000, "unsupported block tag"),
    (-32601, "no"),
]


@contextmanager
def without_tags(node: SimulatedNode, code: int, message: str) -> Iterator[str]:
    """The URL of a gateway to `node` that refuses every call with a tag but "latest" like this."""

    def answer(body: bytes) -> Response:
        if b'"finalized"' not in body:
            return Response(requests.post(node.url, data=body, timeout=5).content)
        call = msgspec.json.decode(body)
        return Response(msgspec.json.encode({"id": call["id"], "error": {"code": code, "message": message}}))

    port = Port(answer)
    port.serve()
    yield f"http://127.0.0.1:{port.number}"
    port.close()


@pytest.mark.parametrize(("code", "message"), REFUSALS)
def test_where_a_node_does_not_know_the_tag_a_depth_is_final(
    node: SimulatedNode, chain: SimulatedChain, code: int, message: str
) -> None:
    chain.mine(60)
    with without_tags(node, code, message) as url:
        source = RpcSource(url)
        assert source.finalized() == chain.header(70 - UNTAGGED_DEPTH)
        source.close()


def test_that_depth_may_be_another(node: SimulatedNode, chain: SimulatedChain) -> None:
    with without_tags(node, *REFUSALS[0]) as url:
        source = RpcSource(url, untagged_depth=4)
        assert source.finalized() == chain.header(6)
        source.close()


@pytest.mark.parametrize(
    ("code", "message"),
    [
        (-32000, "finalized block not found"),
        (-32000, "safe block not found"),
        (-39001, "Unknown block"),
        (-32005, "too many requests, invalid until you pay"),
    ],
)
def test_a_tag_that_has_no_block_yet_is_not_taken_for_an_unknown_one(code: int, message: str) -> None:
    assert not CallRefused(classify(code, message), code).no_such_tag
