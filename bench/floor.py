"""The floor: the least that anybody must do in Python to have these logs in SQL and this graph in memory.

It asks the same questions of the same node, over one connection. No answer is checked, nothing is keyed
but (block, index), nothing survives a reorg, a crash or a second start, no document is written.
"""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Iterator, Sequence
from http.client import HTTPConnection
from time import perf_counter
from typing import Any
from urllib.parse import urlsplit

import msgspec
import psycopg
from msgspec import Raw, Struct

from bench.outcome import Outcome, Stopwatch, User, fingerprint
from bench.scenario import CONTRACT, NOBODY
from bench.stores import conninfo, path_of
from eventstore.ingest.window import Window
from eventstore.records import BlockRange

BATCH = 100
"""Headers in one request: as many as our source asks for."""


class _Reply(Struct, gc=False):
    result: Raw


class _Log(Struct, gc=False):
    blockNumber: str
    logIndex: str
    topics: list[str]
    data: str
    transactionHash: str
    transactionIndex: str


class _Header(Struct, gc=False):
    number: str
    hash: str
    timestamp: str


_replies = msgspec.json.Decoder(list[_Reply])
_logs = msgspec.json.Decoder(list[_Log])
_header = msgspec.json.Decoder(_Header)
_count = msgspec.json.Decoder(list[Raw])

_TABLES = (
    "CREATE TABLE floor_blocks (number bigint PRIMARY KEY, hash {blob}, timestamp bigint)",
    "CREATE TABLE floor_logs (block_number bigint, log_index int, topic1 {blob}, topic2 {blob}, data {blob}, "
    "tx_hash {blob}, tx_index int, PRIMARY KEY (block_number, log_index))",
)

_LOGS = "SELECT topic1, topic2, data FROM logs ORDER BY chain_id, block_number, log_index, entry"

LogRow = tuple[int, int, bytes, bytes, bytes, bytes, int]
BlockRow = tuple[int, bytes, int]


def read_only(url: str) -> Outcome:
    """What the node can serve to a reader that asks for everything and looks at nothing but counts."""
    node = _Node(url)
    events, numbers = 0, list[int]()
    for asked in _ranges(node):  # the blocks of the headers, found outside of the measured time
        found = _logs.decode(node.range(asked)[1].result)
        events += len(found)
        numbers += sorted({int(log.blockNumber, 16) for log in found})
    with Stopwatch() as watch:
        for asked in _ranges(node):
            node.post(node.range_calls(asked))
        for start in range(0, len(numbers), BATCH):
            node.post([node.by_number(number) for number in numbers[start : start + BATCH]])
    return Outcome(watch.seconds, watch.cpu, events)


def backfill(url: str, store: str) -> Outcome:
    """Fetch, decode, insert, fold."""
    node, table = _Node(url), _table(store)
    spent = Counter[str]()
    pairs: list[tuple[str, str]] = []
    with Stopwatch() as watch:
        for asked in _ranges(node):
            at = perf_counter()
            body = node.post(node.range_calls(asked))
            at = _lap(spent, "fetch", at)
            found = _logs.decode(_replies.decode(body)[1].result)
            rows = [_row(log) for log in found]
            at = _lap(spent, "decode", at)
            numbers = list(dict.fromkeys(row[0] for row in rows))
            bodies = [
                node.post([node.by_number(number) for number in numbers[start : start + BATCH]])
                for start in range(0, len(numbers), BATCH)
            ]
            at = _lap(spent, "fetch", at)
            headers = [_header.decode(reply.result) for body in bodies for reply in _replies.decode(body)]
            blocks = [(int(h.number, 16), bytes.fromhex(h.hash[2:]), int(h.timestamp, 16)) for h in headers]
            at = _lap(spent, "decode", at)
            table.insert(blocks, rows)
            at = _lap(spent, "insert", at)
            pairs += [("0x" + log.topics[1][26:], "0x" + log.topics[2][26:]) for log in found]
            _lap(spent, "fold", at)
        at = perf_counter()
        users = folded(pairs)
        _lap(spent, "fold", at)
    return Outcome(
        watch.seconds,
        watch.cpu,
        len(pairs),
        documents=len(users),
        digest=fingerprint(users),
        parts=dict(spent),
    )


def replay(store: str) -> Outcome:
    """Reads the logs of our own journal by the raw driver, decodes and folds them."""
    with Stopwatch() as watch:
        rows = _rows(store, _LOGS)
        users = folded(
            [
                ("0x" + user[12:].hex(), "0x" + referrer[12:].hex())
                for user, referrer, data in rows
                if int.from_bytes(data, "big") >> 63 == 0
            ]
        )
    return Outcome(watch.seconds, watch.cpu, len(rows), documents=len(users), digest=fingerprint(users))


def incremental(store: str) -> Outcome:
    """The same rows, and a graph that is right after each event, as a fold must have it: nothing is counted
    at the end."""
    with Stopwatch() as watch:
        rows = _rows(store, _LOGS)
        graph = _Graph()
        for user, referrer, data in rows:
            if int.from_bytes(data, "big") >> 63 == 0:
                graph.register("0x" + user[12:].hex(), "0x" + referrer[12:].hex())
    users = {
        user: User(direct, None if direct is None else graph.direct[direct], *graph.counts[user])
        for user, direct in graph.direct.items()
    }
    return Outcome(watch.seconds, watch.cpu, len(rows), documents=len(users), digest=fingerprint(users))


class _Graph:
    """The referrals, both ways, and [level 1, level 2] of each user."""

    def __init__(self) -> None:
        self.direct: dict[str, str | None] = {}
        self.counts: dict[str, list[int]] = {}
        self._referees: dict[str, set[str]] = {}

    def register(self, user: str, referrer: str) -> None:
        above = None if referrer in (NOBODY, user) else referrer
        for key in (user, above):
            if key is not None and key not in self.direct:
                self.direct[key], self.counts[key], self._referees[key] = None, [0, 0], set()
        old = self.direct[user]
        if old == above:
            return
        brought = self.counts[user][0]
        if old is not None:
            self._referees[old].remove(user)
            self._count(old, -1, -brought)
        if above is not None:
            self._referees[above].add(user)
        self.direct[user] = above
        if above is not None:
            self._count(above, 1, brought)

    def _count(self, key: str, level1: int, level2: int) -> None:
        counts = self.counts[key]
        counts[0] += level1
        counts[1] += level2
        beyond = self.direct[key]
        if beyond is not None:
            self.counts[beyond][1] += level1


def folded(pairs: Sequence[tuple[str, str]]) -> dict[str, User]:
    """The graph after all (user, referrer): edges first, then counting, once, at the end."""
    edges: dict[str, str | None] = {}
    for user, referrer in pairs:
        if referrer in (NOBODY, user):
            edges[user] = None
        else:
            edges[user] = referrer
            edges.setdefault(referrer, None)
    indirect = {user: edges[direct] if direct else None for user, direct in edges.items()}
    level1, level2 = Counter(edges.values()), Counter(indirect.values())
    return {
        user: User(direct, indirect[user], level1.get(user, 0), level2.get(user, 0))
        for user, direct in edges.items()
    }


def _rows(store: str, sql: str) -> list[Any]:
    if store.startswith("sqlite"):
        return sqlite3.connect(path_of(store)).execute(sql).fetchall()
    with psycopg.connect(conninfo(store)) as connection:
        return connection.cursor(binary=True).execute(sql).fetchall()


class _Node:
    """One connection that stays open."""

    def __init__(self, url: str) -> None:
        self._connection = HTTPConnection(urlsplit(url).netloc)

    def post(self, calls: list[dict[str, Any]]) -> bytes:
        self._connection.request(
            "POST", "/", msgspec.json.encode(calls), {"Content-Type": "application/json"}
        )
        return self._connection.getresponse().read()

    def by_number(self, block: int | str) -> dict[str, Any]:
        named = hex(block) if isinstance(block, int) else block
        return {"jsonrpc": "2.0", "id": 1, "method": "eth_getBlockByNumber", "params": [named, False]}

    def range_calls(self, asked: BlockRange) -> list[dict[str, Any]]:
        where = {"fromBlock": hex(asked.first), "toBlock": hex(asked.last), "address": [CONTRACT]}
        return [
            self.by_number(asked.last),
            {"jsonrpc": "2.0", "id": 2, "method": "eth_getLogs", "params": [where]},
        ]

    def range(self, asked: BlockRange) -> list[_Reply]:
        return _replies.decode(self.post(self.range_calls(asked)))

    def head(self) -> int:
        reply = _replies.decode(self.post([self.by_number("latest")]))[0]
        return int(_header.decode(reply.result).number, 16)


def _ranges(node: _Node) -> Iterator[BlockRange]:
    """The ranges that the ingester begins with; the head is not of interest here."""
    window, head, first = Window(), node.head(), 1
    while first <= head:
        asked = window.take(first, head)
        yield asked
        first = asked.last + 1


def _lap(spent: Counter[str], part: str, since: float) -> float:
    now = perf_counter()
    spent[part] += now - since  # type: ignore[assignment]  # seconds
    return now


def _row(log: _Log) -> LogRow:
    topics, parse = log.topics, bytes.fromhex
    return (
        int(log.blockNumber, 16),
        int(log.logIndex, 16),
        parse(topics[1][2:]),
        parse(topics[2][2:]),
        parse(log.data[2:]),
        parse(log.transactionHash[2:]),
        int(log.transactionIndex, 16),
    )


class _SqliteTable:
    """executemany, one transaction a range, as durable as our store: WAL, synchronous FULL."""

    def __init__(self, url: str) -> None:
        self._db = sqlite3.connect(path_of(url))
        self._db.execute("PRAGMA synchronous=FULL")
        for table in _TABLES:
            self._db.execute(table.format(blob="blob"))
        self._db.commit()

    def insert(self, blocks: list[BlockRow], logs: list[LogRow]) -> None:
        self._db.executemany("INSERT INTO floor_blocks VALUES (?, ?, ?)", blocks)
        self._db.executemany("INSERT INTO floor_logs VALUES (?, ?, ?, ?, ?, ?, ?)", logs)
        self._db.commit()


class _PostgresTable:
    """Binary COPY, one transaction a range."""

    def __init__(self, url: str) -> None:
        self._db = psycopg.connect(conninfo(url))
        for table in _TABLES:
            self._db.execute(table.format(blob="bytea"))
        self._db.commit()

    def insert(self, blocks: list[BlockRow], logs: list[LogRow]) -> None:
        self._copy("floor_blocks", ["int8", "bytea", "int8"], blocks)
        self._copy("floor_logs", ["int8", "int4", "bytea", "bytea", "bytea", "bytea", "int4"], logs)
        self._db.commit()

    def _copy(self, table: str, types: list[str], rows: Sequence[tuple[Any, ...]]) -> None:
        with (
            self._db.cursor() as cursor,
            cursor.copy(f"COPY {table} FROM STDIN (FORMAT BINARY)") as copy,
        ):
            copy.set_types(types)
            for row in rows:
                copy.write_row(row)


def _table(url: str) -> _SqliteTable | _PostgresTable:
    return _SqliteTable(url) if url.startswith("sqlite") else _PostgresTable(url)
