"""A simulated chain served as JSON-RPC over HTTP, with the faults of real nodes at a switch each.

    with SimulatedNode(chain) as node:
        source = RpcSource(node.url)
        node.faults.range_cap = 2_000           # from now on
        node.at(node.requests + 3, lambda: chain.reorg(2))
        with node.refusing_connections():
            ...

What each of them does is said in `Faults`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from random import Random
from threading import Event, Lock
from typing import Any, Self

import msgspec

from eventstore.sources.simulated.backend import Backend, GatewayError, RpcError
from eventstore.sources.simulated.block import JsonObject
from eventstore.sources.simulated.chain import SimulatedChain
from eventstore.sources.simulated.faults import Faults
from eventstore.sources.simulated.http import Port, Response

__all__ = ["Faults", "SimulatedNode"]


class SimulatedNode:
    """Serves `chain` on a free port of 127.0.0.1 while the context is open.

    `url` is its address, `faults` what is wrong with it; `requests` counts HTTP requests, `calls` the
    calls in them by method. What happens by chance depends on `seed` and the number of the request only.
    """

    def __init__(self, chain: SimulatedChain, *, faults: Faults | None = None, seed: int = 0) -> None:
        self.faults = faults or Faults()
        self.requests = 0
        self.calls: Counter[str] = Counter()
        self.chain = chain
        self._seed = seed
        self._script: dict[int, Callable[[], object]] = {}
        self._empties: Counter[bytes] = Counter()
        self._lock = Lock()
        self._closed = Event()
        self._port = Port(self._answer)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._port.number}"

    def __enter__(self) -> Self:
        self._closed.clear()
        self._port.serve()
        return self

    def __exit__(self, *_: object) -> None:
        self._closed.set()
        self._port.close()

    def at(self, request: int, do: Callable[[], object]) -> None:
        """Has `do` happen just before HTTP request number `request`, the first being 1, is answered."""
        self._script[request] = do

    @contextmanager
    def refusing_connections(self) -> Iterator[None]:
        """The port is closed within, and open again, under the same number, afterwards."""
        self._port.close()
        try:
            yield
        finally:
            self._port.serve()

    # --- one HTTP request ---

    def _answer(self, body: bytes) -> Response:
        faults = self.faults
        with self._lock:
            self.requests += 1
            number = self.requests
            lag = faults.lag + faults.syncing
            faults.syncing = max(0, faults.syncing - 1)
        self._script.pop(number, lambda: None)()
        chance = Random(f"{self._seed} {number}")
        if faults.latency or faults.jitter:
            self._closed.wait(faults.latency + chance.uniform(0, faults.jitter))
        if faults.down or chance.random() < faults.flaky:
            return Response(b"upstream is down", 503)
        if faults.throttled is not None:
            return Response(b"Too Many Requests", 429, {"Retry-After": f"{faults.throttled:g}"})
        try:
            said = msgspec.json.encode(self._reply(msgspec.json.decode(body), lag, chance))
        except GatewayError as error:
            return Response(b"the gateway gave up", error.status)
        if faults.garbage_json:
            return Response(b"\xff" + chance.randbytes(40))
        return Response(said[: len(said) // 2] if faults.truncated_json else said)

    def _reply(self, request: Any, lag: int, chance: Random) -> object:
        backend = self._backend(lag, chance)
        if not isinstance(request, list):
            return self._called(backend, request)
        faults = self.faults
        if faults.batch_refused:
            return _failed(None, RpcError(-32600, "batch requests are not supported"))
        if faults.batch_cap is not None and len(request) > faults.batch_cap:
            return _failed(None, RpcError(-32005, "Number of requests exceeds max batch size"))
        replies = [
            self._called(self._backend(lag, chance) if faults.batch_split else backend, call)
            for call in request
        ]
        if faults.batch_reversed:
            replies.reverse()
        return replies[:-1] if faults.batch_incomplete else replies

    def _backend(self, lag: int, chance: Random) -> Backend:
        return Backend(
            self.chain,
            self.faults,
            lag=lag + chance.choice(self.faults.backends),
            empties=self._empties,
            pause=self._closed.wait,
        )

    def _called(self, backend: Backend, call: JsonObject) -> JsonObject:
        with self._lock:
            self.calls[call["method"]] += 1
        try:
            result = backend.call(call["method"], call.get("params", ()))
        except RpcError as error:
            return _failed(call["id"], error)
        return {"jsonrpc": "2.0", "id": call["id"], "result": result}


def _failed(number: object, error: RpcError) -> JsonObject:
    said = {"code": error.code, "message": str(error)}
    if error.data is not None:
        said["data"] = error.data
    return {"jsonrpc": "2.0", "id": number, "error": said}
