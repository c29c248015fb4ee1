"""Requests of one endpoint that are under way together, and those that must not be."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Barrier, BrokenBarrierError

import msgspec
import pytest
from msgspec import Raw

from eventstore.errors import SourceUnavailable
from eventstore.sources.rpc.call import Call
from eventstore.sources.rpc.client import RpcClient
from eventstore.sources.simulated.http import Port, Response

PATIENCE = 20.0
"""Seconds that a request waits for another one, which comes within milliseconds or never."""

LOGS = Call("eth_getLogs", (-1,))


def blocks(count: int) -> list[Call]:
    return [Call("eth_getBlockByNumber", (number,)) for number in range(count)]


def echo(body: bytes) -> Response:
    """Every call's first parameter as its result."""
    asked = msgspec.json.decode(body)
    calls = asked if isinstance(asked, list) else [asked]
    said = [{"jsonrpc": "2.0", "id": call["id"], "result": call["params"][0]} for call in calls]
    return Response(msgspec.json.encode(said if isinstance(asked, list) else said[0]))


@contextmanager
def endpoint(answer: Callable[[bytes], Response], *, max_batch: int) -> Iterator[RpcClient]:
    port = Port(answer)
    port.serve()
    made = RpcClient(f"http://127.0.0.1:{port.number}", timeout=2 * PATIENCE, max_batch=max_batch)
    try:
        yield made
    finally:
        made.close()
        port.close()


def test_batches_of_one_method_are_under_way_together() -> None:
    """The node answers the second and the third only when it has both; the order stays that of the calls."""
    both, seen = Barrier(2), list[int]()

    def answer(body: bytes) -> Response:
        seen.append(len(msgspec.json.decode(body)))
        if len(seen) > 1:
            both.wait(PATIENCE)
        return echo(body)

    with endpoint(answer, max_batch=4) as asked:
        answers = asked.ask(blocks(12))
    assert seen == [4, 4, 4]
    assert [msgspec.json.decode(item) for item in answers if isinstance(item, Raw)] == list(range(12))


def test_the_first_batch_goes_alone_and_its_refusal_is_not_met_by_all() -> None:
    """A node that takes two calls at most refuses eight once, four once, and nothing after that."""
    refused = list[int]()

    def answer(body: bytes) -> Response:
        asked = msgspec.json.decode(body)
        if isinstance(asked, list) and len(asked) > 2:
            refused.append(len(asked))
            return Response(b'{"error":"batch too large"}', status=413)
        return echo(body)

    with endpoint(answer, max_batch=8) as asked:
        assert len(asked.ask(blocks(40))) == 40
    assert refused == [8, 4]


def test_calls_of_several_methods_are_made_one_after_the_other() -> None:
    """A request that is under way together with another would meet it at the barrier."""
    met, alone = list[bool](), Barrier(2)

    def answer(body: bytes) -> Response:
        try:
            alone.wait(0.2)
            met.append(True)
        except BrokenBarrierError:
            alone.reset()
            met.append(False)
        return echo(body)

    with endpoint(answer, max_batch=1) as asked:
        asked.ask([*blocks(1), LOGS, *blocks(1)])
    assert met == [False, False, False]


def test_a_request_that_fails_among_several_fails_the_whole_question() -> None:
    seen = list[int]()

    def answer(body: bytes) -> Response:
        seen.append(len(msgspec.json.decode(body)))
        return echo(body) if len(seen) != 3 else Response(b"gone", status=503)

    with endpoint(answer, max_batch=4) as asked, pytest.raises(SourceUnavailable):
        asked.ask(blocks(20))
