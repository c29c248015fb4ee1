"""Every request over the network has one deadline for the whole of it, and one rule for redirects.

A server that drips gives a good answer in the end: without a deadline each of these would get it.
"""

from __future__ import annotations

import json
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Event, Thread

import pytest

from eventstore.errors import SourceError, SourceUnavailable
from eventstore.net import deadline
from eventstore.net.deadline import Deadlines
from eventstore.sources.failover.source import FailoverSource
from eventstore.sources.rpc.call import Call
from eventstore.sources.rpc.client import RpcClient
from eventstore.sources.rpc.heads import Heads, announcing
from eventstore.sources.rpc.source import RpcSource
from eventstore.sources.simulated.chain import SimulatedChain
from eventstore.sources.simulated.node import SimulatedNode
from projections.service.alerts.delivery import AlertAddress
from projections.webhooks.post import Post, Target
from tests.servers.dripping import MANNERS, Manner, dripping

SHORT = 0.3
"""Seconds for the whole; what drips takes four."""
LONG = 20.0
REPLY = json.dumps({"jsonrpc": "2.0", "id": 1, "result": "0x7a69"}).encode()
KEY = "s3cr3t-k3y-of-mine"


def node(url: str) -> str:
    """What a node at `url` fails with."""
    endpoint = RpcClient(url, timeout=SHORT, max_batch=10)
    try:
        with pytest.raises(SourceUnavailable) as failed:
            endpoint.ask([Call("eth_chainId")])
    finally:
        endpoint.close()
    return str(failed.value)


def receiver(url: str) -> str:
    """What a webhook's receiver at `url` fails with."""
    post = Post(Target(url, "secret-of-the-rule", timeout=SHORT), connections=1)
    try:
        answer = post.send(b"{}", "key")
    finally:
        post.close()
    assert answer.kind == "failed"
    return answer.reason


def alert(url: str) -> str:
    """What an address of alerts at `url` fails with."""
    address = AlertAddress(url.replace("http", "json", 1), place=0, patience=SHORT)
    said = address.send("title", "body", "open")
    assert said is not None
    assert address.send("title", "body", "open") == "an earlier message is still being sent to it"
    return said


ASKERS: dict[Callable[[str], str], str] = {
    node: "did not answer within 0.3 seconds",
    receiver: "no whole answer within 0.3 seconds",
    alert: "it did not take the message within 0.3 seconds",
}


@pytest.mark.parametrize("manner", MANNERS)
@pytest.mark.parametrize("ask", ASKERS, ids=lambda ask: ask.__name__)
def test_an_answer_that_drips_is_not_waited_for(ask: Callable[[str], str], manner: Manner) -> None:
    with dripping(manner, REPLY) as server:
        assert ASKERS[ask] in ask(server.url)
        assert server.asked.is_set()


@pytest.mark.parametrize("manner", ["head", "tls"])
def test_a_websocket_that_does_not_open_in_time_is_given_up(manner: Manner) -> None:
    with dripping(manner, REPLY) as server:
        url = server.url.replace("http", "ws", 1)
        with pytest.raises(SourceUnavailable, match="gives no heads"):
            announcing(url, patience=SHORT)
        tried: list[str] = []

        class Noting(Heads):
            @property
            def problem(self) -> str | None:
                return tried[-1]

            @problem.setter
            def problem(self, said: str) -> None:
                tried.append(said)

        heads = Noting(url, lambda: None, opening=SHORT, pause=0.01)
        heads.start()
        waiting = Event()
        while len(tried) < 3:  # the first is what it begins with
            assert not waiting.wait(0.01)
        heads.close()


@pytest.mark.parametrize("manner", ["head", "body"])
def test_a_healthy_endpoint_is_asked_when_the_first_one_drips(manner: Manner) -> None:
    """Also for its chain id and first block, before anything else."""
    chain = SimulatedChain()
    chain.mine(5)
    with SimulatedNode(chain) as healthy, dripping(manner, REPLY) as server:
        source = FailoverSource(
            [RpcSource(server.url, timeout=SHORT), RpcSource(healthy.url, timeout=LONG)], chain_id=31_337
        )
        assert source.head() == chain.head()
        assert source.identity().chain_id == 31_337
        states = {item.name: item.state for item in source.status()}
        source.close()
    assert sorted(states.values()) == ["in use", "paused"]


def test_a_connection_that_was_kept_has_a_deadline_too() -> None:
    """The second question goes over the connection of the first, which was quick."""
    behave: list[float] = [0.0, 4.0]

    def handle(handler: BaseHTTPRequestHandler) -> None:
        stop.wait(behave.pop(0))
        handler.send_response(200)
        handler.send_header("Content-Length", str(len(REPLY)))
        handler.end_headers()
        handler.wfile.write(REPLY)

    stop = Event()
    with answering(handle) as url:
        endpoint = RpcClient(url, timeout=SHORT, max_batch=10)
        assert endpoint.ask([Call("eth_chainId")])
        with pytest.raises(SourceUnavailable, match="did not answer within"):
            endpoint.ask([Call("eth_chainId")])
        endpoint.close()
        stop.set()


def test_a_name_that_is_not_resolved_in_time_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """The system's resolver may wait for half a minute and cannot be made to hurry."""
    stop = Event()

    def slow(*_: object) -> list[object]:
        stop.wait(4.0)
        return []

    monkeypatch.setattr(deadline.socket, "getaddrinfo", slow)
    assert "did not answer within" in node("http://a-name-that-hangs.invalid/")
    assert "a-name-that-hangs" in receiver("http://a-name-that-hangs.invalid/")
    stop.set()


def test_what_ended_in_time_is_not_touched_afterwards() -> None:
    """Its connection may be another exchange's by then."""
    deadlines = Deadlines()
    ours, theirs = socket.socketpair()
    with deadlines.exchange(0.05) as early:
        early.watch(ours)
    with deadlines.exchange(0.1) as late:
        while not late.is_over:
            Event().wait(0.01)
    theirs.sendall(b"x")
    assert ours.recv(1) == b"x"
    assert not early.is_over
    for each in (ours, theirs):
        each.close()
    deadlines.close()


# --- redirects ---


@contextmanager
def answering(handle: Callable[[BaseHTTPRequestHandler], None]) -> Iterator[str]:
    """The URL of a server that does this with each POST, and each GET."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["content-length"]))
            handle(self)

        def do_GET(self) -> None:
            handle(self)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the library's own name
            """Nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/{KEY}"
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_nobody_follows_a_redirect_and_everybody_names_its_host(status: int) -> None:
    """A POST that is followed as a GET has lost its body, and what answers then took nothing."""
    asked: list[str] = []

    def elsewhere(handler: BaseHTTPRequestHandler) -> None:
        asked.append(handler.command)
        handler.send_response(200)
        handler.send_header("Content-Length", str(len(REPLY)))
        handler.end_headers()
        handler.wfile.write(REPLY)

    with answering(elsewhere) as target:

        def redirect(handler: BaseHTTPRequestHandler) -> None:
            handler.send_response(status)
            handler.send_header("Location", target)
            handler.send_header("Content-Length", "0")
            handler.end_headers()

        with answering(redirect) as url:
            host = target.rpartition("/")[0]
            endpoint = RpcClient(url, timeout=LONG, max_batch=10)
            with pytest.raises(SourceError) as failed:
                endpoint.ask([Call("eth_chainId"), Call("eth_chainId")])
            endpoint.close()
            assert failed.value.retry is (status not in (301, 308))
            post = Post(Target(url, "secret-of-the-rule", timeout=LONG), connections=1)
            refused = post.send(b"{}", "key")
            post.close()
            with pytest.raises(SourceUnavailable) as unheard:
                announcing(url.replace("http", "ws", 1), patience=LONG)
            for said in (str(failed.value), refused.reason, str(unheard.value)):
                assert f"redirects to {host}" in said
                assert "which is not followed" in said
                assert KEY not in said
            assert refused.kind == "refused"
            said_ = AlertAddress(url.replace("http", "json", 1), place=0).send("title", "body", "open")
            assert said_ is not None
            assert "Redirects are not followed" in said_
    assert asked == []
