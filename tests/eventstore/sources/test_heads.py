"""New heads over websocket: woken by a real node, and by one that hangs up, refuses or falls silent."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from queue import Queue
from threading import Thread

from websockets.exceptions import ConnectionClosed
from websockets.sync.server import ServerConnection, serve

from eventstore.sources.rpc.heads import LONGEST_MESSAGE, Heads
from tests.servers.anvil import Anvil

LONG = 20.0
"""Seconds that a test waits for what must come; it comes within milliseconds."""
KEY = "s3cr3t-k3y-of-mine"
HEAD = json.dumps({"jsonrpc": "2.0", "method": "eth_subscription", "params": {"result": {}}})
SUBSCRIBED = json.dumps({"jsonrpc": "2.0", "id": 1, "result": "0x1"})


@contextmanager
def woken(url: str, *, quiet: float = LONG) -> Iterator[tuple[Heads, Queue[None]]]:
    """Heads that are listened to, and a queue that gets an item for each call of `on_head`."""
    calls: Queue[None] = Queue()
    heads = Heads(url, lambda: calls.put(None), quiet=quiet, pause=0.01)
    heads.start()
    yield heads, calls
    heads.close()


@contextmanager
def node(behave: Callable[[ServerConnection], object]) -> Iterator[str]:
    """The URL of a websocket server that does `behave` with each connection that subscribes."""

    def handle(connection: ServerConnection) -> None:
        try:
            assert json.loads(connection.recv())["method"] == "eth_subscribe"
            behave(connection)
        except ConnectionClosed:
            pass

    with serve(handle, "127.0.0.1", 0) as server:
        thread = Thread(target=server.serve_forever)
        thread.start()
        yield f"ws://127.0.0.1:{server.socket.getsockname()[1]}/{KEY}"
        server.shutdown()
        thread.join()


def test_a_new_block_of_a_real_node_wakes(anvil: Anvil) -> None:
    with woken(anvil.url.replace("http", "ws")) as (heads, calls):
        calls.get(timeout=LONG)  # it is reached
        anvil.mine()
        calls.get(timeout=LONG)
        assert heads.problem is None


def test_several_blocks_wake_again(anvil: Anvil) -> None:
    with woken(anvil.url.replace("http", "ws")) as (_, calls):
        calls.get(timeout=LONG)
        for _ in range(3):
            anvil.mine()
            calls.get(timeout=LONG)


def test_a_node_that_hangs_up_is_connected_to_again_and_wakes_for_what_was_missed() -> None:
    def behave(connection: ServerConnection) -> None:
        connection.send(SUBSCRIBED)
        connection.close()

    with node(behave) as url, woken(url) as (_, calls):
        for _ in range(3):
            calls.get(timeout=LONG)


def test_a_node_that_falls_silent_is_connected_to_again() -> None:
    def behave(connection: ServerConnection) -> None:
        connection.send(SUBSCRIBED)
        connection.recv()

    with node(behave) as url, woken(url, quiet=0.02) as (_, calls):
        for _ in range(3):
            calls.get(timeout=LONG)


def test_a_refused_subscription_wakes_nobody_and_is_told_without_the_key() -> None:
    refusals: Queue[None] = Queue()

    def behave(connection: ServerConnection) -> None:
        connection.send(json.dumps({"id": 1, "error": {"code": -32601, "message": "no"}}))
        refusals.put(None)

    with node(behave) as url, woken(url) as (heads, calls):
        for _ in range(3):
            refusals.get(timeout=LONG)
        assert calls.empty()
        assert heads.problem is not None
        assert "polling goes on" in heads.problem
        assert KEY not in heads.problem


def test_what_is_no_json_rpc_is_survived() -> None:
    tries: Queue[None] = Queue()

    def behave(connection: ServerConnection) -> None:
        tries.put(None)
        connection.send("hello" if tries.qsize() < 2 else HEAD)
        connection.recv()

    with node(behave) as url, woken(url) as (_, calls):
        calls.get(timeout=LONG)


def test_a_node_that_is_not_there_is_no_error_of_the_caller() -> None:
    with woken(f"ws://127.0.0.1:1/{KEY}") as (heads, calls):
        assert calls.empty()
        assert heads.problem is not None
        assert KEY not in heads.problem


def test_an_address_that_is_none_is_no_error_of_the_caller() -> None:
    with woken(f"wss://{KEY} nonsense:99999999") as (_, calls):
        assert calls.empty()


def test_nobody_is_woken_after_the_end(anvil: Anvil) -> None:
    with woken(anvil.url.replace("http", "ws")) as (_, calls):
        calls.get(timeout=LONG)
    anvil.mine()
    assert calls.empty()


def test_heads_that_never_started_can_be_closed() -> None:
    Heads("ws://127.0.0.1:1", lambda: None).close()


def test_a_message_that_is_too_large_is_not_read_and_the_cap_is_named() -> None:
    def behave(connection: ServerConnection) -> None:
        connection.send(HEAD)
        connection.send(json.dumps({"padding": "x" * LONGEST_MESSAGE}))
        connection.recv()

    with node(behave) as url, woken(url) as (heads, calls):
        for _ in range(3):  # it is connected to again
            calls.get(timeout=LONG)
        for _ in range(2_000):
            if heads.problem is not None:
                break
            calls.get(timeout=LONG)
        assert heads.problem is not None
        assert f"more than {LONGEST_MESSAGE:,} bytes" in heads.problem
        assert KEY not in heads.problem
