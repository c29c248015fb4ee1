"""How a simulated node writes blocks, logs and receipts as JSON, rightly or as its faults have it."""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import sha256

from eventstore.proof import bloom
from eventstore.records import Header, Log
from eventstore.sources.simulated.block import Block, JsonObject
from eventstore.sources.simulated.chain import SimulatedChain
from eventstore.sources.simulated.faults import Faults


class Wire:
    """The JSON of what is on the chain, and off it: orphaned blocks look no other than canonical ones."""

    def __init__(self, chain: SimulatedChain, faults: Faults) -> None:
        self._chain = chain
        self._faults = faults

    def header(self, header: Header) -> JsonObject:
        """The block without its transactions, with all fields that were recorded of it."""
        faults = self._faults
        said: JsonObject = dict(self.block(header.hash).fields) or {
            "number": hex(header.number),
            "hash": to_hex(header.hash),
            "parentHash": to_hex(header.parent_hash),
            "timestamp": hex(header.timestamp),
            "extraData": "0x" + "00" * 97,
            "logsBloom": to_hex(header.bloom or bytes(256)),
        }
        self._tell_other_numbers(header.number, said)
        if faults.wrong_genesis and header.number == 0:
            said["hash"] = other_hash(said["hash"])
        if faults.zero_bloom or faults.full_bloom:
            said["logsBloom"] = "0x" + ("ff" if faults.full_bloom else "00") * 256
        if faults.no_bloom:
            said.pop("logsBloom", None)
        return said

    def transactions(self, block: Block) -> list[JsonObject]:
        """Of a recorded block as they are, else no more than hash and place."""
        recorded = block.fields.get("transactions")
        if isinstance(recorded, list):
            return recorded
        return [
            {
                "hash": to_hex(tx_hash),
                "transactionIndex": hex(index),
                "blockHash": to_hex(block.hash),
                "blockNumber": hex(block.number),
            }
            for index, tx_hash in enumerate(block.transactions())
        ]

    def log(self, log: Log) -> JsonObject:
        """Logs as JSON, with the faults of logs that are switched on."""
        faults, said = self._faults, self._right(log)
        half = len(self.block(log.block_hash).logs) // 2
        if faults.log_index_reset and log.log_index >= half:
            said["logIndex"] = hex(log.log_index - half)
        if (log.block_number, log.log_index) in faults.altered:
            said["data"] = to_hex(log.data[:-1] + bytes([log.data[-1] ^ 1 if log.data else 1]))
        self._tell_other_numbers(log.block_number, said)
        if faults.duplicate_log_index:
            said["logIndex"] = hex(0)
        if faults.zero_log_timestamp:
            said["blockTimestamp"] = hex(0)
        if faults.no_log_timestamp:
            del said["blockTimestamp"]
        if faults.pending_logs:
            said["blockNumber"] = said["blockHash"] = None
        said["removed"] = faults.removed_logs
        return said

    def invented(self, logs: Sequence[Log]) -> list[JsonObject]:
        """What never was, of the blocks of these logs."""
        found = []
        for number in sorted(self._faults.invented):
            there = [log for log in logs if log.block_number == number]
            if there and there[-1] == self.block(there[-1].block_hash).logs[-1]:
                found.append({**self._right(there[-1]), "logIndex": hex(there[-1].log_index + 1)})
        return found

    def receipts(self, block: Block) -> list[JsonObject]:
        """One for each transaction, in order, with the fields that were recorded of it."""
        emitted: dict[bytes, list[Log]] = {tx_hash: [] for tx_hash in block.transactions()}
        for log in block.logs:
            emitted[log.tx_hash].append(log)
        return [
            {
                **(block.receipts.get(tx_hash) or self._receipt(block, index, tx_hash, logs)),
                "logs": self._logs_of_receipt(index, logs),
            }
            for index, (tx_hash, logs) in enumerate(emitted.items())
        ]

    def block(self, block_hash: bytes) -> Block:
        """The block of a hash that came from the chain itself."""
        block = self._chain.block(block_hash)
        assert block is not None
        return block

    def _receipt(self, block: Block, index: int, tx_hash: bytes, logs: Sequence[Log]) -> JsonObject:
        return {
            "status": "0x1",
            "type": "0x2",
            "transactionHash": to_hex(tx_hash),
            "transactionIndex": hex(index),
            "blockHash": to_hex(block.hash),
            "blockNumber": hex(block.number),
            "logsBloom": to_hex(bloom.make(logs)),
        }

    def _logs_of_receipt(self, index: int, logs: Sequence[Log]) -> list[JsonObject]:
        faults = self._faults
        if faults.receipts_honest:
            return [self._right(log) for log in logs]
        said = [(log, self.log(log)) for log in logs]
        ghosts = self.invented(logs)
        if faults.receipts_misnumbered:
            for place, (_, shown) in enumerate(said):
                shown["logIndex"] = hex(index + place)
        there = [shown for log, shown in said if (log.block_number, log.log_index) not in faults.withheld]
        return there + ghosts

    def _tell_other_numbers(self, block: int, said: JsonObject) -> None:
        for (number, field), told in self._faults.numbers.items():
            if number == block and field in said:
                said[field] = hex(told)

    def _right(self, log: Log) -> JsonObject:
        return {
            "address": to_hex(log.address),
            "topics": [to_hex(topic) for topic in log.topics],
            "data": to_hex(log.data),
            "blockNumber": hex(log.block_number),
            "blockHash": to_hex(log.block_hash),
            "blockTimestamp": hex(self.block(log.block_hash).timestamp),
            "transactionHash": to_hex(log.tx_hash),
            "transactionIndex": hex(log.tx_index),
            "logIndex": hex(log.log_index),
            "removed": False,
        }


def other_hash(block_hash: str) -> str:
    """A hash that is always the same, and never this one."""
    return to_hex(sha256(to_bytes(block_hash)).digest())


def to_hex(value: bytes) -> str:
    return "0x" + value.hex()


def to_bytes(text: str) -> bytes:
    return bytes.fromhex(text[2:])
