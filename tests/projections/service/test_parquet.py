"""Exports hold exactly the canonical logs, and their columns what the events say."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow.parquet
import pytest
from eth_abi.abi import encode
from eth_hash.auto import keccak

from eventstore.journal.history import Question, ask
from eventstore.journal.journal import Journal
from eventstore.records import Filter, Log
from eventstore.storage.store import Store
from projections.decoding.event import Event
from projections.errors import ConfigurationError
from projections.service.config.loader import load
from projections.service.export import parquet
from projections.service.export.parquet import Exported, ExportedChain, export_events, export_logs
from projections.service.status.declared import Declared
from tests.blocks import hash_, headers_of
from tests.eventstore.backup.journals import CHAINS, Author

CHAIN, CONTRACT = 1, bytes.fromhex("51" * 20)
WIDE = (
    "Everything(address indexed who, string indexed title, uint8 small, int40 cold, uint64 wide, "
    "uint256 huge, int256 debt, bool sure, bytes4 sign, bytes body, string said, uint16[] many, "
    "(uint8,uint256[2])[] pairs, uint256 block_number)"
)
CONFIG = f"""
[chains.main]
rpc = "http://127.0.0.1:9"
chain_id = {CHAIN}
[contracts.shop]
chain = "main"
address = "0x{CONTRACT.hex()}"
events = ["{WIDE}", "Sent(address indexed to)", "Sent(address indexed to, uint256 amount)", "Never()"]
[projections.referrals]
projector = "referrals"
contract = "graph"
[contracts.graph]
chain = "main"
address = "0x{"99" * 20}"
events = ["ReferralRegistered(address indexed user, address indexed referrer)"]
"""


def silent(done: int, of: int) -> None:
    """Progress that is not shown."""


@pytest.fixture
def declared(tmp_path: Path) -> Declared:
    (tmp_path / "chainfold.toml").write_text(CONFIG)
    return Declared(load(tmp_path / "chainfold.toml"), "main", contract="shop")


def event(declared: Declared, canonical: str) -> Event:
    return next(item for _, item in declared.events() if item.canonical.startswith(canonical))


def emitted(block: int, topics: tuple[bytes, ...], data: bytes = b"") -> Log:
    return Log(block, 0, CONTRACT, topics, data, bytes([block]) * 32, 4, hash_(block))


@pytest.fixture
def filled(store: Store, declared: Declared) -> Store:
    """One event of each kind, an undeclared one, and one that is not of the shape that its topic says."""
    wide, one, two = (event(declared, name) for name in ("Everything", "Sent(address)", "Sent(address,uint"))
    numbers = (7, -3, 2**64 - 1, 2**256 - 1, -(2**255), True)
    values = (*numbers, b"sign", b"\x00\xff", "grüß", [1, 2], [(5, (1, 2**200))], 9)
    types = [item.type for item in wide.parameters if not item.indexed]
    who = bytes(12) + bytes([0xAB]) * 20
    logs = [
        emitted(1, (wide.topic0, who, keccak(b"title")), encode(types, values)),
        emitted(2, (one.topic0, who)),
        emitted(3, (two.topic0, who), (2**100).to_bytes(32, "big")),
        emitted(4, (bytes(32), who)),
        emitted(5, (two.topic0, who), b"short"),
        emitted(6, (one.topic0, who)),
    ]
    with store.write() as tx:
        journal = Journal(tx, CHAIN)
        journal.append(logs, headers_of(logs))
        journal.orphan(6)
    return store


def rows(path: Path) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = pyarrow.parquet.read_table(path).to_pylist()
    return found


def decoded(store: Store, declared: Declared, directory: Path) -> Exported:
    source = ExportedChain(CHAIN, declared, tuple(declared.filters(declared=True)))
    return export_events(store, directory, [source], Question(), progress=silent)


@pytest.fixture(params=[7, 50_000], ids=["small groups", "one group"])
def group(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    monkeypatch.setattr(parquet, "GROUP", request.param)
    yield request.param


def test_the_raw_file_holds_the_canonical_logs_of_all_chains(
    store: Store, declared: Declared, tmp_path: Path, group: int
) -> None:
    Author(store, 21).write(60)
    sources = [ExportedChain(chain, declared, None) for chain in CHAINS]
    counts: list[tuple[int, int]] = []
    done = export_logs(
        store, tmp_path / "all.parquet", sources, Question(), progress=lambda *seen: counts.append(seen)
    )
    found = rows(tmp_path / "all.parquet")
    expected = []
    with store.read() as tx:
        for chain in CHAINS:
            for item in ask(tx, chain, Question()):
                topics = ["0x" + topic.hex() for topic in item.log.topics] + [None] * 4
                expected.append(
                    {
                        "chain_id": chain,
                        "block_number": item.log.block_number,
                        "log_index": item.log.log_index,
                        "block_timestamp": datetime.fromtimestamp(item.timestamp, UTC),
                        "block_hash": "0x" + item.log.block_hash.hex(),
                        "tx_hash": "0x" + item.log.tx_hash.hex(),
                        "tx_index": item.log.tx_index,
                        "address": "0x" + item.log.address.hex(),
                        **{f"topic{place}": topics[place] for place in range(4)},
                        "data": "0x" + item.log.data.hex(),
                    }
                )
    assert found == expected
    assert len(found) > 20
    assert [file.rows for file in done.files] == [len(found)] == [counts[-1][0]]
    groups = pyarrow.parquet.ParquetFile(tmp_path / "all.parquet").metadata.num_row_groups
    assert groups == -(-len(found) // group)


def test_a_range_and_a_contract_narrow_it(filled: Store, declared: Declared, tmp_path: Path) -> None:
    here, nowhere = ((Filter(address),) for address in (CONTRACT, bytes(20)))
    wanted = [("a", here, None, 5), ("b", here, 3, 3), ("c", here, 0, 0), ("d", nowhere, None, 0)]
    for name, filters, last, count in wanted:
        path = tmp_path / f"{name}.parquet"
        export_logs(
            filled, path, [ExportedChain(CHAIN, declared, filters)], Question(last=last), progress=silent
        )
        assert len(rows(path)) == count


def test_each_declared_event_has_a_file_with_its_parameters_as_typed_columns(
    filled: Store, declared: Declared, tmp_path: Path
) -> None:
    done = decoded(filled, declared, tmp_path / "out")
    one, two = (event(declared, name).topic0.hex()[:8] for name in ("Sent(address)", "Sent(address,uint"))
    assert {Path(file.path).name: file.rows for file in done.files} == {
        "shop.Everything.parquet": 1,
        f"shop.Sent.{one}.parquet": 1,
        f"shop.Sent.{two}.parquet": 1,
        "shop.Never.parquet": 0,
    }
    assert done.undecoded == 1, "of a declared topic, and not of its shape"
    [row] = rows(tmp_path / "out" / "shop.Everything.parquet")
    assert {key: row[key] for key in list(row)[8:]} == {
        "who": "0x" + "ab" * 20,
        "title": "0x" + keccak(b"title").hex(),
        "small": 7,
        "cold": -3,
        "wide": str(2**64 - 1),
        "huge": str(2**256 - 1),
        "debt": str(-(2**255)),
        "sure": True,
        "sign": "0x" + b"sign".hex(),
        "body": "0x00ff",
        "said": "grüß",
        "many": [1, 2],
        "pairs": [{"item0": 5, "item1": ["1", str(2**200)]}],
        "block_number_": "9",
        "marks": None,
    }
    assert (row["block_number"], row["address"], row["tx_index"]) == (1, "0x" + CONTRACT.hex(), 4)
    [sent] = rows(tmp_path / "out" / f"shop.Sent.{two}.parquet")
    assert (sent["to"], sent["amount"]) == ("0x" + "ab" * 20, str(2**100))


def test_long_data_is_not_kept_in_memory(
    filled: Store, declared: Declared, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However few rows it is in."""
    monkeypatch.setattr(parquet, "HELD", 10)
    path = tmp_path / "all.parquet"
    export_logs(filled, path, [ExportedChain(CHAIN, declared, None)], Question(), progress=silent)
    assert pyarrow.parquet.ParquetFile(path).metadata.num_row_groups == len(rows(path)) == 5


def test_nothing_is_left_of_an_export_that_fails_and_nothing_is_overwritten(
    filled: Store, declared: Declared, tmp_path: Path
) -> None:
    class Stopped(Exception):
        """Ends an export."""

    def stop(done: int, of: int) -> None:
        raise Stopped

    source = ExportedChain(CHAIN, declared, None)
    with pytest.raises(Stopped):
        export_logs(filled, tmp_path / "all.parquet", [source], Question(), progress=stop)
    assert not list(tmp_path.glob("*.parquet*"))
    export_logs(filled, tmp_path / "all.parquet", [source], Question(), progress=silent)
    before = (tmp_path / "all.parquet").read_bytes()
    with pytest.raises(ConfigurationError, match="is there already"):
        export_logs(filled, tmp_path / "all.parquet", [source], Question(), progress=silent)
    assert (tmp_path / "all.parquet").read_bytes() == before
