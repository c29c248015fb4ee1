"""A chain that was recorded in a JSON-lines file, as a source.

The first line is about the chain, `{"chain_id": 1, "finalized": 17000000}`; every other line is a block:

    {"number": 1, "hash": "0x...", "parentHash": "0x...", "timestamp": 1700000012, "logsBloom": "0x...",
     "logs": [{"address": "0x...", "topics": ["0x..."], "data": "0x...",
               "transactionHash": "0x...", "transactionIndex": 0, "logIndex": 0}]}

Blocks ascend by number and begin with block 0. The file may be replaced at any time: an answer comes
from what it holds at the time of the call.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from threading import Lock

import msgspec
from msgspec import Struct

from chainfold.sources import (
    Answer,
    AnswerRefused,
    BlockRange,
    BlockUnknown,
    ChainSettings,
    Header,
    Identity,
    Log,
    Query,
    SourceUnavailable,
    WithoutEvidence,
)


class _Log(Struct, rename="camel"):
    address: str
    topics: list[str]
    data: str
    transaction_hash: str
    transaction_index: int
    log_index: int


class _Block(Struct, rename="camel"):
    number: int
    hash: str
    parent_hash: str
    timestamp: int
    logs_bloom: str | None = None
    logs: list[_Log] = []


class _About(Struct):
    chain_id: int
    finalized: int | None = None


class _Chain(Struct, frozen=True):
    """What a file held when it was read."""

    about: _About
    headers: dict[int, Header]
    by_hash: dict[bytes, Header]
    logs: dict[int, list[Log]]
    head: int


class Settings(Struct, frozen=True, forbid_unknown_fields=True):
    """`[chains.NAME.settings]`: `path` of the file, relative to the configuration."""

    path: str


class Recording(WithoutEvidence):
    """The source behind a recording. It reads the file again when the file was replaced or has grown."""

    Settings = Settings

    def __init__(self, settings: Settings, chain: ChainSettings) -> None:
        if not settings.path:
            raise ValueError("path is empty")
        self.name = f"recording {settings.path}"
        self.requests: Counter[str] = Counter()
        self._path: Path = chain.folder / settings.path
        self._lock = Lock()
        self._read: tuple[tuple[int, int, int], _Chain] | None = None

    # --- the port of a source ---

    def identity(self) -> Identity:
        chain = self._chain("identity")
        return Identity(chain.about.chain_id, self._known(chain, 0).hash)

    def head(self) -> Header:
        chain = self._chain("head")
        return self._known(chain, chain.head)

    def finalized(self) -> Header | None:
        chain = self._chain("finalized")
        final = chain.about.finalized
        return None if final is None else chain.headers.get(min(final, chain.head))

    def headers(self, numbers: Sequence[int]) -> list[Header | None]:
        chain = self._chain("headers")
        return [chain.headers.get(number) for number in numbers]

    def logs(self, query: Query, where: BlockRange | Header) -> Answer:
        chain = self._chain("logs")
        if isinstance(where, Header):
            last = chain.by_hash.get(where.hash)
            if last is None:
                raise BlockUnknown(f"{self.name} does not hold block {where.number} 0x{where.hash.hex()}.")
            numbers = range(last.number, last.number + 1)
        else:
            last = self._known(chain, where.last)
            numbers = range(where.first, where.last + 1)
        found = [log for number in numbers for log in chain.logs.get(number, []) if query.matches(log)]
        return Answer(found, last)

    # --- what a node adds to it ---

    def has_code(self, address: bytes, block: int) -> bool:
        """A recording holds no code: a contract exists from the first block that holds a log of it."""
        logs = self._chain("has_code").logs
        return any(log.address == address for number in logs if number <= block for log in logs[number])

    def syncing(self) -> bool:
        return False

    def close(self) -> None:
        """No file stays open."""

    # --- the file ---

    def _known(self, chain: _Chain, number: int) -> Header:
        header = chain.headers.get(number)
        if header is None:
            raise BlockUnknown(f"{self.name} does not hold block {number}.")
        return header

    def _chain(self, asked: str) -> _Chain:
        """The file's content now. Raises `SourceUnavailable` where it cannot be read."""
        with self._lock:
            self.requests[asked] += 1
            try:
                state = self._path.stat()
                version = (state.st_ino, state.st_size, state.st_mtime_ns)
                if self._read is None or self._read[0] != version:
                    self._read = version, _decoded(self._path.read_bytes())
            except OSError as error:
                raise SourceUnavailable(
                    f"{self.name} cannot be read: {error.strerror}.", hint="It is tried again."
                ) from error
            except (msgspec.MsgspecError, ValueError) as error:
                raise AnswerRefused(
                    f"{self.name} cannot be read: {error}.", hint="Record the chain again."
                ) from error
            return self._read[1]


def _decoded(text: bytes) -> _Chain:
    first, *rest = text.splitlines()
    about = msgspec.json.decode(first, type=_About)
    decoder = msgspec.json.Decoder(_Block)
    headers: dict[int, Header] = {}
    logs: dict[int, list[Log]] = {}
    for line in rest:
        block = decoder.decode(line)
        header = Header(
            block.number,
            _bytes(block.hash),
            _bytes(block.parent_hash),
            block.timestamp,
            None if block.logs_bloom is None else _bytes(block.logs_bloom),
        )
        headers[block.number] = header
        if block.logs:
            logs[block.number] = [_log(item, header) for item in block.logs]
    return _Chain(about, headers, {header.hash: header for header in headers.values()}, logs, max(headers))


def _log(item: _Log, block: Header) -> Log:
    return Log(
        block.number,
        item.log_index,
        _bytes(item.address),
        tuple(_bytes(topic) for topic in item.topics),
        _bytes(item.data),
        _bytes(item.transaction_hash),
        item.transaction_index,
        block.hash,
    )


def _bytes(text: str) -> bytes:
    return bytes.fromhex(text.removeprefix("0x"))
