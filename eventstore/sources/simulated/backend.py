"""One of the nodes behind a simulated address: the methods of JSON-RPC, as its faults let it answer them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from eventstore.records import BlockRange, Header, Log
from eventstore.sources.simulated.block import JsonObject
from eventstore.sources.simulated.chain import SimulatedChain
from eventstore.sources.simulated.faults import Faults
from eventstore.sources.simulated.wire import Wire, other_hash, to_bytes, to_hex


class RpcError(Exception):
    """One call's failure, as JSON-RPC tells it."""

    def __init__(self, code: int, message: str, data: object = None) -> None:
        super().__init__(message)
        self.code = code
        self.data = data


class GatewayError(Exception):
    """The whole request ends in this HTTP status."""

    def __init__(self, status: int) -> None:
        super().__init__(status)
        self.status = status


class Backend:
    """A node that is `lag` blocks behind the chain.

    `empties` counts, by the hash of the (last) block, the answers that were empty where they should not
    have been; `pause` waits so many seconds, or less where the node is closed meanwhile.
    """

    def __init__(
        self,
        chain: SimulatedChain,
        faults: Faults,
        *,
        lag: int,
        empties: Counter[bytes],
        pause: Callable[[float], object],
    ) -> None:
        self._chain = chain
        self._faults = faults
        self._wire = Wire(chain, faults)
        self._head = max(0, chain.head().number - lag)
        self._empties = empties
        self._pause = pause

    def call(self, method: str, params: Sequence[Any]) -> object:
        """The result of a method; raises `RpcError`, or `GatewayError` for the whole request."""
        faults = self._faults
        missing = {
            "eth_getLogs": faults.no_logs_method,
            "eth_getBlockReceipts": faults.no_receipts,
            "eth_getTransactionReceipt": faults.no_transaction_receipts,
        }
        if method not in _METHODS or missing.get(method):
            raise RpcError(-32601, f"the method {method} does not exist")
        return _METHODS[method](self, *params)

    def chain_id(self) -> str:
        wrong = self._faults.wrong_chain
        return hex(self._chain.chain_id if wrong is None else wrong)

    def block_number(self) -> str:
        return hex(self._head)

    def block_by_number(self, block: str, full: bool = False) -> JsonObject | None:
        found = self._block(self._numbered(block), full=full)
        if found is not None and self._faults.moved_finality and block in ("finalized", "safe"):
            found["hash"] = other_hash(found["hash"])
        return found

    def block_by_hash(self, block_hash: str, full: bool = False) -> JsonObject | None:
        return self._block(self._hashed(block_hash), full=full)

    def code(self, address: str, block: str) -> str:
        """A contract is there from the block of its first log on, for all that can be seen from here."""
        number = self._number(block)
        if number is None or number > self._head:
            raise RpcError(-32000, "header not found")
        if self._faults.pruned_below is not None and number < self._faults.pruned_below:
            raise RpcError(-32000, "missing trie node (path )")
        wanted = to_bytes(address)
        there = any(log.address == wanted for log in self._chain.logs_in(0, number))
        return "0x60" if there else "0x"

    # --- which block is meant, and is it shown? ---

    def _number(self, block: str) -> int | None:
        match block:
            case "latest" | "pending":
                return self._head
            case "finalized" | "safe":
                if self._faults.no_finalized_tag:
                    raise RpcError(-32000, f"{block} block not found")
                final = self._chain.finalized()
                return None if final is None else min(final.number, self._head)
            case "earliest":
                return 0
            case _:
                return int(block, 16)

    def _numbered(self, block: str) -> Header | None:
        number = self._number(block)
        return None if number is None else self._shown(self._chain.header(number))

    def _hashed(self, block_hash: str) -> Header | None:
        wanted = to_bytes(block_hash)
        header = self._chain.header_of(wanted)
        if header is None and self._faults.orphans_known:
            header = self._chain.orphan(wanted)
        return self._shown(header)

    def _shown(self, header: Header | None) -> Header | None:
        if header is None or header.number > self._head or header.number == self._faults.null_block:
            return None
        return header

    def _block(self, header: Header | None, *, full: bool) -> JsonObject | None:
        if header is None:
            return None
        transactions = self._wire.transactions(self._wire.block(header.hash))
        return {
            **self._wire.header(header),
            "transactions": transactions if full else [item["hash"] for item in transactions],
        }

    # --- logs ---

    def logs(self, asked: JsonObject) -> list[JsonObject]:
        faults = self._faults
        if faults.logs_refused:
            raise RpcError(-32005, "limit exceeded")
        by_hash = "blockHash" in asked
        where, there = self._of_block(asked["blockHash"]) if by_hash else self._of_range(asked)
        found = [
            log
            for log in _matching(asked, there)
            if log.block_number >= (faults.empty_below or 0)
            and (log.block_number, log.log_index) not in faults.withheld
        ]
        cap = faults.one_block_cap if len(where) == 1 else faults.result_cap
        if cap is not None and len(found) > cap:
            raise self._too_many(found, where, cap)
        said = [self._wire.log(log) for log in found[: faults.truncate_at]]
        said += self._wire.invented(found)
        return said + self._strays(asked, where) + ([] if by_hash else self._orphans(asked, where))

    def _of_block(self, block_hash: str) -> tuple[BlockRange, Sequence[Log]]:
        header = self._hashed(block_hash)
        orphan = self._chain.orphan(to_bytes(block_hash)) if self._faults.orphans_mixed else None
        if orphan is not None:
            header = self._numbered(hex(orphan.number))
        if header is None:
            raise RpcError(-32000, "unknown block")
        if self._faults.block_refused:
            raise RpcError(-32005, "limit exceeded")
        self._refuse_pruned(header.number)
        empty = self._faults.empty_blocks and self._still_empty(header)
        where = BlockRange(header.number, header.number)
        return where, () if empty else self._wire.block(header.hash).logs

    def _of_range(self, asked: JsonObject) -> tuple[BlockRange, Sequence[Log]]:
        faults, head = self._faults, self._head
        first, last = (self._number(asked.get(key, "latest")) for key in ("fromBlock", "toBlock"))
        if first is None or last is None:
            raise RpcError(-32000, "unknown block")
        if first > last:
            raise RpcError(-32602, "invalid block range params")
        where = BlockRange(first, last)
        if faults.future_refused and last > head:
            raise RpcError(
                -32602, f"block range extends beyond current head block: requested {last}, head {head}"
            )
        if faults.slow_above is not None and len(where) > faults.slow_above:
            self._pause(faults.slow_seconds)
        if faults.gateway_cap is not None and len(where) > faults.gateway_cap:
            raise GatewayError(faults.gateway_status)
        if faults.range_cap is not None and len(where) > faults.range_cap:
            text = faults.range_cap_text.replace("{cap}", str(faults.range_cap))
            raise self._refusal(faults.range_cap_code, text, {})
        self._refuse_pruned(first)
        near = 0 < faults.empty_near_head > head - last
        newest = self._chain.header(min(last, head)) if near else None
        if newest is not None and self._still_empty(newest):
            return where, ()
        return where, self._chain.logs_in(first, min(last, head))

    def _still_empty(self, header: Header) -> bool:
        self._empties[header.hash] += 1
        after = self._faults.filled_after
        return after is None or self._empties[header.hash] <= after

    def _strays(self, asked: JsonObject, where: BlockRange) -> list[JsonObject]:
        if not self._faults.stray_log:
            return []
        below = _matching(asked, self._chain.logs_in(0, where.first - 1))[-1:]
        above = _matching(asked, self._chain.logs_in(where.last + 1, self._head))[:1]
        return [self._wire.log(log) for log in below or above]

    def _orphans(self, asked: JsonObject, where: BlockRange) -> list[JsonObject]:
        faults = self._faults
        if not (faults.orphaned_logs or faults.removed_twice):
            return []
        orphans = self._chain.orphans_in(where.first, where.last)
        logs = [self._wire.log(log) for block in orphans for log in _matching(asked, block.logs)]
        removed = [{**log, "removed": True} for log in logs]
        return (logs if faults.orphaned_logs else []) + (removed * 2 if faults.removed_twice else [])

    # --- refusals ---

    def _refuse_pruned(self, first: int) -> None:
        if first < (self._faults.pruned_below or 0):
            raise RpcError(4444, "pruned history unavailable")

    def _too_many(self, found: Sequence[Log], where: BlockRange, cap: int) -> RpcError:
        faults = self._faults
        text = faults.result_cap_text.replace("{cap}", str(cap))
        match faults.suggestion:
            case "none":
                return self._refusal(faults.result_cap_code, text, {})
            case "good":
                offered = where.first, max(where.first, found[cap].block_number - 1)
            case "equal":
                offered = where.first, where.last
            case "inverted":
                offered = where.last, where.first
        first, last = hex(offered[0]), hex(offered[1])
        if faults.said_in == "message":
            text += f". Try with this block range [{first}, {last}]."
        return self._refusal(faults.result_cap_code, text, {"from": first, "limit": cap, "to": last})

    def _refusal(self, code: int, text: str, data: JsonObject) -> RpcError:
        if self._faults.said_in == "data":
            return RpcError(code, "invalid params", {**data, "payload": text})
        return RpcError(code, text, data or None)

    # --- receipts ---

    def block_receipts(self, block: str) -> list[JsonObject] | None:
        return self._receipts(self._hashed(block) if len(block) == 66 else self._numbered(block))

    def transaction_receipt(self, tx_hash: str) -> JsonObject | None:
        block = self._chain.block_with(to_bytes(tx_hash))
        receipts = self._receipts(self._hashed(to_hex(block.hash))) if block else None
        return next((item for item in receipts or () if item["transactionHash"] == tx_hash), None)

    def _receipts(self, header: Header | None) -> list[JsonObject] | None:
        faults = self._faults
        if header is None or faults.receipts_null or header.number < (faults.empty_below or 0):
            return None
        self._refuse_pruned(header.number)
        receipts = self._wire.receipts(self._wire.block(header.hash))
        if faults.receipts_partial:
            filled = [item for item in receipts if item["logs"]]
            receipts = [item for item in receipts if item not in filled[-1:]]
        return receipts[::-1] if faults.receipts_reordered else receipts


def _matching(asked: Mapping[str, Any], logs: Sequence[Log]) -> list[Log]:
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
    return {to_bytes(item) for item in ([wanted] if isinstance(wanted, str) else wanted or ())}


_METHODS: Mapping[str, Callable[..., object]] = {
    "eth_chainId": Backend.chain_id,
    "eth_blockNumber": Backend.block_number,
    "eth_getBlockByNumber": Backend.block_by_number,
    "eth_getBlockByHash": Backend.block_by_hash,
    "eth_getLogs": Backend.logs,
    "eth_getCode": Backend.code,
    "eth_getBlockReceipts": Backend.block_receipts,
    "eth_getTransactionReceipt": Backend.transaction_receipt,
}
