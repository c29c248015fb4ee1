"""A simulated chain served as JSON-RPC over HTTP, with the faults of real nodes at a switch each.

    with SimulatedNode(chain) as node:
        source = RpcSource(node.url)
        node.faults.range_cap = 2_000           # from now on

A fault is one field of `Faults` and the one place that reads it.
"""

from __future__ import annotations

import socket
from collections.abc import Callable
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from time import sleep
from typing import Any, Self

import msgspec
from msgspec import Struct

from eventstore.records import Header, Log
from eventstore.sources.simulated import SimulatedChain

Json = dict[str, Any]


class Faults(Struct):
    """What is wrong with the node. All of it may be switched at any time, while it serves."""

    range_cap: int | None = None
    range_cap_text: str = "exceed maximum block range: {cap}"
    result_cap: int | None = None
    result_cap_text: str = "query returned more than {cap} results"
    block_refused: bool = False
    """eth_getLogs by block hash is refused as too large."""
    empty_near_head: int = 0
    """Ranges that reach into this many newest blocks are answered without any logs."""
    empty_blocks: bool = False
    """eth_getLogs by block hash finds nothing, whatever the block holds."""
    lag: int = 0
    """How many blocks the node is behind its chain."""
    down: bool = False
    throttled: float | None = None
    """Every request is answered by 429 and this many seconds of Retry-After."""
    truncate_at: int | None = None
    """No answer holds more logs than this, and says nothing about it."""
    null_block: int | None = None
    """The block of this number is null."""
    wrong_chain: int | None = None
    duplicate_log_index: bool = False
    removed_logs: bool = False
    pending_logs: bool = False
    no_finalized_tag: bool = False
    no_bloom: bool = False
    no_receipts: bool = False
    latency: float = 0.0
    """Seconds before each answer."""
    garbage_json: bool = False
    batch_reversed: bool = False
    batch_incomplete: bool = False
    batch_refused: bool = False
    batch_cap: int | None = None


class _RpcError(Exception):
    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code


class SimulatedNode:
    """Serves `chain` on a free port of 127.0.0.1 while the context is open.

    `url` is its address, `faults` what is wrong with it; `requests` counts HTTP requests.
    """

    def __init__(self, chain: SimulatedChain, *, faults: Faults | None = None) -> None:
        self.faults = faults or Faults()
        self.requests = 0
        self._chain = chain
        self._methods: dict[str, Callable[..., object]] = {
            "eth_chainId": self._chain_id,
            "eth_blockNumber": lambda: hex(self._head_number()),
            "eth_getBlockByNumber": self._block_by_number,
            "eth_getBlockByHash": self._block_by_hash,
            "eth_getLogs": self._get_logs,
            "eth_getBlockReceipts": self._receipts,
        }
        self._server = _Server(("127.0.0.1", 0), _Handler)
        self._server.node = self
        self._thread = Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.hang_up()
        self._server.server_close()
        self._thread.join()

    # --- one HTTP request ---

    def answer(self, body: bytes) -> tuple[HTTPStatus, dict[str, str], bytes]:
        """Status, headers and body for a request's body."""
        self.requests += 1
        faults = self.faults
        if faults.latency:
            sleep(faults.latency)
        if faults.down:
            return HTTPStatus.SERVICE_UNAVAILABLE, {}, b"upstream is down"
        if faults.throttled is not None:
            after = {"Retry-After": f"{faults.throttled:g}"}
            return HTTPStatus.TOO_MANY_REQUESTS, after, b"Too Many Requests"
        said = msgspec.json.encode(self._reply(msgspec.json.decode(body)))
        if faults.garbage_json:
            said = said[: len(said) // 2]
        return HTTPStatus.OK, {}, said

    def _reply(self, request: Any) -> object:
        if not isinstance(request, list):
            return self._call(request)
        faults = self.faults
        if faults.batch_refused:
            return _failed(None, _RpcError(-32600, "batch requests are not supported"))
        if faults.batch_cap is not None and len(request) > faults.batch_cap:
            return _failed(None, _RpcError(-32005, "Number of requests exceeds max batch size"))
        replies = [self._call(call) for call in request]
        if faults.batch_reversed:
            replies.reverse()
        return replies[:-1] if faults.batch_incomplete else replies

    def _call(self, call: Json) -> Json:
        name = call["method"]
        if name not in self._methods:
            return _failed(call["id"], _RpcError(-32601, f"the method {name} does not exist"))
        try:
            result = self._methods[name](*call["params"])
            return {"jsonrpc": "2.0", "id": call["id"], "result": result}
        except _RpcError as error:
            return _failed(call["id"], error)

    # --- the methods ---

    def _chain_id(self) -> str:
        wrong = self.faults.wrong_chain
        return hex(self._chain.chain_id if wrong is None else wrong)

    def _head_number(self) -> int:
        return max(0, self._chain.head().number - self.faults.lag)

    def _block_by_number(self, block: str, _full: bool) -> Json | None:
        match block:
            case "latest":
                number = self._head_number()
            case "finalized" | "safe":
                if self.faults.no_finalized_tag:
                    raise _RpcError(-32000, f"{block} block not found")
                final = self._chain.finalized()
                if final is None:
                    return None
                number = min(final.number, self._head_number())
            case "earliest":
                number = 0
            case _:
                number = int(block, 16)
        return self._block(self._chain.header(number))

    def _block_by_hash(self, block_hash: str, _full: bool) -> Json | None:
        return self._block(self._chain.header_of(_bytes(block_hash)))

    def _block(self, header: Header | None) -> Json | None:
        if header is None or not self._shows(header):
            return None
        block: Json = {
            "number": hex(header.number),
            "hash": _hex(header.hash),
            "parentHash": _hex(header.parent_hash),
            "timestamp": hex(header.timestamp),
            "extraData": "0x" + "00" * 97,
            "transactions": [],
        }
        if header.bloom is not None and not self.faults.no_bloom:
            block["logsBloom"] = _hex(header.bloom)
        return block

    def _shows(self, header: Header) -> bool:
        return header.number <= self._head_number() and header.number != self.faults.null_block

    def _get_logs(self, asked: Json) -> list[Json]:
        faults, head = self.faults, self._head_number()
        if "blockHash" in asked:
            header = self._chain.header_of(_bytes(asked["blockHash"]))
            if header is None or not self._shows(header):
                raise _RpcError(-32000, "unknown block")
            if faults.block_refused:
                raise _RpcError(-32005, "limit exceeded")
            first = last = header.number
            logs = [] if faults.empty_blocks else self._chain.logs_of(header.hash)
        else:
            first, last = (int(asked[key], 16) for key in ("fromBlock", "toBlock"))
            if faults.range_cap is not None and last - first + 1 > faults.range_cap:
                raise _RpcError(-32602, faults.range_cap_text.format(cap=faults.range_cap))
            near = last > head - faults.empty_near_head
            logs = [] if near else self._chain.logs_in(first, min(last, head))
        logs = _matching(asked, logs)
        if faults.result_cap is not None and len(logs) > faults.result_cap and last > first:
            raise _RpcError(-32005, faults.result_cap_text.format(cap=faults.result_cap))
        return [self._log(log) for log in logs[: faults.truncate_at]]

    def _log(self, log: Log) -> Json:
        faults = self.faults
        return {
            "address": _hex(log.address),
            "topics": [_hex(topic) for topic in log.topics],
            "data": _hex(log.data),
            "blockNumber": None if faults.pending_logs else hex(log.block_number),
            "blockHash": None if faults.pending_logs else _hex(log.block_hash),
            "transactionHash": _hex(log.tx_hash),
            "transactionIndex": hex(log.tx_index),
            "logIndex": hex(0 if faults.duplicate_log_index else log.log_index),
            "removed": faults.removed_logs,
        }

    def _receipts(self, block: str) -> list[Json] | None:
        if self.faults.no_receipts:
            raise _RpcError(-32601, "the method eth_getBlockReceipts does not exist")
        header = self._chain.header_of(_bytes(block))
        if header is None or not self._shows(header):
            return None
        return [
            {"status": "0x1", "transactionHash": _hex(log.tx_hash), "logs": [self._log(log)]}
            for log in self._chain.logs_of(header.hash)
        ]


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 64
    node: SimulatedNode

    def __init__(self, *args: Any) -> None:
        self._open: set[socket.socket] = set()
        super().__init__(*args)

    def process_request(self, request: Any, client_address: Any) -> None:
        self._open.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        self._open.discard(request)
        super().shutdown_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that hung up is no error of ours."""

    def hang_up(self) -> None:
        """Ends the connections that clients keep alive."""
        for connection in list(self._open):
            self.shutdown_request(connection)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = -1
    server: _Server

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        status, headers, said = self.server.node.answer(body)
        self.send_response(status)
        for name, value in {**headers, "Content-Type": "application/json"}.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(said)))
        self.end_headers()
        self.wfile.write(said)

    def log_message(self, *_: object) -> None:
        """Silent: what it does is seen by who asks."""


def _matching(asked: Json, logs: list[Log]) -> list[Log]:
    """Those of `logs` that eth_getLogs' `address` and `topics` (by place; null means any) let pass."""
    addresses = _set(asked.get("address"))
    topics = [_set(alternatives) for alternatives in asked.get("topics") or ()]
    return [
        log
        for log in logs
        if (not addresses or log.address in addresses)
        and len(log.topics) >= len(topics)
        and all(not wanted or topic in wanted for topic, wanted in zip(log.topics, topics, strict=False))
    ]


def _set(wanted: str | list[str] | None) -> set[bytes]:
    return {_bytes(item) for item in ([wanted] if isinstance(wanted, str) else wanted or ())}


def _failed(number: object, error: _RpcError) -> Json:
    return {
        "jsonrpc": "2.0",
        "id": number,
        "error": {"code": error.code, "message": str(error)},
    }


def _hex(value: bytes) -> str:
    return "0x" + value.hex()


def _bytes(text: str) -> bytes:
    return bytes.fromhex(text[2:])
