"""One cap for what a node answers: counted in bytes as they are once decompressed, and read no further."""

from __future__ import annotations

import gzip
import threading
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from eventstore.errors import RangeTooLarge, Unreadable
from eventstore.ingest.failed_ranges import FailedRanges
from eventstore.ingest.ingestor import Ingestor
from eventstore.ingest.window import Window
from eventstore.journal.coverage import Coverage
from eventstore.journal.history import Question, ask
from eventstore.records import Filter, Watch
from eventstore.sources.rpc.call import Call, CallRefused
from eventstore.sources.rpc.client import RpcClient
from eventstore.sources.rpc.source import RpcSource
from eventstore.sources.simulated.chain import Emission, SimulatedChain
from eventstore.sources.simulated.node import SimulatedNode
from eventstore.storage.lease import Lease
from eventstore.storage.store import Store
from tests.blocks import ALICE, TOPIC

CAP = 3 * 2**20
CHAIN = 31_337


def reply(size: int) -> bytes:
    """A JSON-RPC reply of so many bytes."""
    empty = b'{"jsonrpc":"2.0","id":1,"result":""}'
    return empty[:-2] + b"x" * (size - len(empty)) + empty[-2:]


class Node(BaseHTTPRequestHandler):
    """Answers every request with the same body, packed or in chunks as the server says."""

    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        body, encoding, chunked = self.server.said  # type: ignore[attr-defined]  # the server below
        self.send_response(200)
        if encoding:
            self.send_header("Content-Encoding", encoding)
        if chunked:
            self.send_header("Transfer-Encoding", "chunked")
            body = b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body)
        else:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        try:
            self.wfile.write(body)
        except OSError:  # who asked reads no further
            self.close_connection = True

    def log_message(self, *_: object) -> None:
        """Nothing."""


@contextmanager
def node(body: bytes, encoding: str = "", *, chunked: bool = False) -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Node) as server:
        server.said = body, encoding, chunked  # type: ignore[attr-defined]
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/v2/s3cr3t-k3y"
        server.shutdown()
        thread.join()


PACKINGS: dict[str, Callable[[bytes], bytes]] = {"": bytes, "gzip": gzip.compress, "deflate": zlib.compress}


@pytest.mark.parametrize("chunked", [False, True], ids=["length", "chunks"])
@pytest.mark.parametrize("encoding", PACKINGS)
def test_an_answer_just_above_the_cap_is_not_read_and_the_cap_is_named(encoding: str, chunked: bool) -> None:
    """A compressed answer counts as what it becomes."""
    for size in (CAP, CAP + 1):
        with node(PACKINGS[encoding](reply(size)), encoding, chunked=chunked) as url:
            endpoint = RpcClient(url, timeout=20, max_batch=1, max_answer=CAP)
            [logs] = endpoint.ask([Call("eth_getLogs")])
            [head] = endpoint.ask([Call("eth_getBlockByNumber")])
            endpoint.close()
        if size == CAP:
            assert not isinstance(logs, CallRefused)
            continue
        assert isinstance(logs, CallRefused)
        assert isinstance(head, CallRefused)
        assert isinstance(logs.error, RangeTooLarge)
        assert isinstance(head.error, Unreadable)
        for refused in (logs, head):
            assert f"more than {CAP:,} bytes" in str(refused.error)
            assert "max_answer" in str(refused.error)
            assert "s3cr3t" not in str(refused.error)


def ingested(store: Store, chain: SimulatedChain, *, max_answer: int) -> None:
    with SimulatedNode(chain) as simulated:
        source = RpcSource(simulated.url, max_answer=max_answer)
        lease = Lease(store, f"ingest:{CHAIN}").acquire()
        stage = Ingestor(
            store,
            source,
            lease,
            chain_id=CHAIN,
            watches=[Watch(Filter(ALICE))],
            window=Window(size=64),
        )
        stage.open()
        for _ in range(200):
            if stage.step().idle:  # an error would be one that a loop tries again
                break
        else:
            raise AssertionError("it does not come to rest")
        stage.close()
        source.close()
        lease.release()


def chain_of(sizes: list[int], *, final: int) -> SimulatedChain:
    made = SimulatedChain()
    for size in sizes:
        made.mine(logs=[Emission(ALICE, (TOPIC,), bytes(size))] if size else [])
    made.finalize(final)
    return made


def test_a_range_whose_answer_is_too_large_is_narrowed(sqlite_store: Store) -> None:
    chain = chain_of([4_000] * 60, final=50)
    ingested(sqlite_store, chain, max_answer=60_000)
    with sqlite_store.read() as tx:
        assert [item.log for item in ask(tx, CHAIN, Question())] == chain.logs_in(0, 60)
        assert FailedRanges(tx, CHAIN).all() == []


@pytest.mark.parametrize("place", [20, 55], ids=["final", "new"])
def test_a_block_that_no_method_gives_in_a_smaller_answer_is_a_gap_and_holds_up_nothing(
    sqlite_store: Store, place: int
) -> None:
    """Below and above it everything is fetched, and the report names the cap."""
    chain = chain_of([40_000 if number == place else 10 for number in range(1, 61)], final=50)
    ingested(sqlite_store, chain, max_answer=60_000)
    with sqlite_store.read() as tx:
        [failed] = FailedRanges(tx, CHAIN).all()
        assert (failed.range.first, failed.range.last) == (place, place)
        assert "max_answer" in failed.reason
        found = [item.log.block_number for item in ask(tx, CHAIN, Question())]
        assert found == [number for number in range(1, 61) if number != place]
        gaps = Coverage(tx, CHAIN).gaps(Watch(Filter(ALICE)), 60)
        assert [(gap.first, gap.last) for gap in gaps] == [(place, place)]


def test_the_same_source_takes_it_with_a_higher_cap(sqlite_store: Store) -> None:
    chain = chain_of([40_000 if number == 20 else 10 for number in range(1, 61)], final=50)
    ingested(sqlite_store, chain, max_answer=60_000)
    with sqlite_store.write() as tx:
        assert FailedRanges(tx, CHAIN).hurry() == 1
    ingested(sqlite_store, chain, max_answer=200_000)
    with sqlite_store.read() as tx:
        assert len(list(ask(tx, CHAIN, Question()))) == 60
        assert FailedRanges(tx, CHAIN).all() == []
