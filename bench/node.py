"""The node of the benchmark: a process that answers JSON-RPC over loopback HTTP from bytes made beforehand.

    python -m bench.node --events 100000          # prints its URL, serves until standard input ends

It knows no faults and checks nothing: it is there to be faster than its reader. The logs of all
blocks stand in one buffer, so the answer to a range is one slice of it. Where it shall be like one that is
far away and public, it lets every request wait for `latency` and refuses ranges of more than `cap` blocks.
"""

from __future__ import annotations

import argparse
import socketserver
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from io import BufferedIOBase
from threading import Thread
from time import sleep
from typing import Any

import msgspec
from msgspec import Struct

from bench.scenario import CHAIN, CONTRACT, UNFINALISED, Scenario, blocks


class _Call(Struct):
    id: int
    method: str
    params: list[Any]


_calls = msgspec.json.Decoder(list[_Call])
_call = msgspec.json.Decoder(_Call)


class _Chain:
    """Answers in bytes."""

    def __init__(self, scenario: Scenario, cap: int | None = None) -> None:
        self._cap = cap
        self._headers: list[bytes] = []
        self._number: dict[str, int] = {}
        self._starts = [0]  # of each block's logs in the buffer, each log followed by a comma
        buffer = bytearray()
        for block in blocks(scenario):
            self._headers.append(block.header)
            self._number[block.hash] = block.number
            if block.logs:
                buffer += block.logs + b","
            self._starts.append(len(buffer))
        self._logs = bytes(buffer)

    def answer(self, body: bytes) -> bytes:
        """The response to one call or a batch."""
        if body[:1] == b"[":
            return b"[" + b",".join([self._reply(call) for call in _calls.decode(body)]) + b"]"
        return self._reply(_call.decode(body))

    def _reply(self, call: _Call) -> bytes:
        if self._cap is not None and call.method == "eth_getLogs" and self._width(call.params[0]) > self._cap:
            said = b"query exceeds max block range %d" % self._cap
            return b'{"jsonrpc":"2.0","id":%d,"error":{"code":-32000,"message":"%b"}}' % (call.id, said)
        result = self._result(call)
        if result is None:  # the receipts of a block that holds 25 logs: as many as some nodes cut answers at
            said = b"the method %b does not exist" % call.method.encode()
            return b'{"jsonrpc":"2.0","id":%d,"error":{"code":-32601,"message":"%b"}}' % (call.id, said)
        return b'{"jsonrpc":"2.0","id":%d,"result":%b}' % (call.id, result)

    def _result(self, call: _Call) -> bytes | None:
        match call.method, call.params:
            case "eth_chainId", _:
                return b'"%#x"' % CHAIN
            case "eth_blockNumber", _:
                return b'"%#x"' % self._head
            case "eth_getBlockByNumber", [block, *_]:
                number = self._numbered(block)
                return self._headers[number] if number <= self._head else b"null"
            case "eth_getBlockByHash", [block, *_]:
                known = self._number.get(block)
                return b"null" if known is None else self._headers[known]
            case "eth_getLogs", [asked]:
                return self._get_logs(asked)
        return None

    def _get_logs(self, asked: dict[str, Any]) -> bytes:
        if CONTRACT not in asked["address"]:
            return b"[]"
        if "blockHash" in asked:
            first = last = self._number[asked["blockHash"]]
        else:
            first = self._numbered(asked["fromBlock"])
            last = min(self._numbered(asked["toBlock"]), self._head)
        return b"[%b]" % self._logs[self._starts[first] : max(self._starts[last + 1] - 1, 0)]

    def _width(self, asked: dict[str, Any]) -> int:
        if "blockHash" in asked:
            return 1
        return self._numbered(asked["toBlock"]) - self._numbered(asked["fromBlock"]) + 1

    @property
    def _head(self) -> int:
        return len(self._headers) - 1

    def _numbered(self, block: str) -> int:
        match block:
            case "latest":
                return self._head
            case "finalized" | "safe":
                return max(0, self._head - UNFINALISED)
            case _:
                return int(block, 16)


class _Server(socketserver.ThreadingTCPServer):
    daemon_threads = True
    request_queue_size = 64
    chain: _Chain
    latency: float
    """Seconds that every answer is held back, each by itself."""


class _Handler(socketserver.StreamRequestHandler):
    """HTTP/1.1 as far as POST with a Content-Length goes, on a connection that stays open."""

    disable_nagle_algorithm = True
    server: _Server

    def handle(self) -> None:
        while (body := _request(self.rfile)) is not None:
            said = self.server.chain.answer(body)
            if self.server.latency:
                sleep(self.server.latency)
            head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
            self.connection.sendall(head % len(said))
            self.connection.sendall(said)


def _request(stream: BufferedIOBase) -> bytes | None:
    """The body of the next request, None where the client is gone."""
    length = 0
    if not stream.readline():
        return None
    while (line := stream.readline().strip()) != b"":
        name, _, value = line.partition(b":")
        if name.lower() == b"content-length":
            length = int(value)
    return stream.read(length)


@contextmanager
def serving(scenario: Scenario, *, latency: float = 0.0, cap: int | None = None) -> Iterator[str]:
    """The URL of a node in a process of its own, ready to answer; `latency` in seconds, `cap` in blocks."""
    options = [f"--{name.replace('_', '-')}={value}" for name, value in msgspec.to_builtins(scenario).items()]
    options += [f"--latency={latency}", *([] if cap is None else [f"--cap={cap}"])]
    with subprocess.Popen(
        [sys.executable, "-m", "bench.node", *options],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            url = process.stdout.readline().strip()
            if not url:
                raise RuntimeError("The benchmark's node did not start.")
            yield url
        finally:
            process.stdin.close()


def main() -> None:
    parser = argparse.ArgumentParser(description="Serves the chain of the benchmark.")
    for field in msgspec.structs.fields(Scenario):
        parser.add_argument(f"--{field.name.replace('_', '-')}", type=int, default=field.default)
    parser.add_argument("--latency", type=float, default=0.0, help="seconds that every answer is held back")
    parser.add_argument("--cap", type=int, help="the most blocks in a range")
    chosen = vars(parser.parse_args())
    latency, cap = chosen.pop("latency"), chosen.pop("cap")
    chain = _Chain(Scenario(**chosen), cap)
    with _Server(("127.0.0.1", 0), _Handler) as server:
        server.chain, server.latency = chain, latency
        Thread(target=server.serve_forever, daemon=True).start()
        print(f"http://127.0.0.1:{server.server_address[1]}", flush=True)
        sys.stdin.read()
        server.shutdown()


if __name__ == "__main__":
    main()
