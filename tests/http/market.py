"""A market: documents under names that anybody chose, with integers of every width, over a scripted chain."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from eth_abi.abi import encode
from msgspec import Struct
from msgspec.structs import replace

from eventstore.sources.simulated.chain import Emission
from projections.decoding.event import parse
from projections.projectors import Documents, Integer256, Projector, handles
from tests.http.site import CONTRACT, Town

SIGNATURE = "Traded(string name, int256 amount, int64 small)"
TRADED = parse(SIGNATURE)


class Pool(Struct, frozen=True):
    """A pool by its name. Some fields are called as what stands beside them elsewhere."""

    name: str
    volume: Integer256 = 0
    low: Integer256 | None = None
    small: int = 0
    note: str = ""
    limit: Integer256 = 0
    count: int = 0
    documents: int = 0


class Market(Projector):
    """Adds trades up; `small` and the rest are what the last one said."""

    document = Pool
    key = "name"
    index = ("note",)
    mongo_indexes = ("volume", "low", "small", "note", "limit", "count")

    @handles(SIGNATURE)
    def traded(self, event: Any, pools: Documents[Pool]) -> None:
        pool = pools.get(event.name) or Pool(event.name)
        volume = pool.volume + event.amount
        low = event.amount if pool.low is None else min(pool.low, event.amount)
        pools.put(
            event.name,
            replace(
                pool,
                volume=volume,
                low=low,
                small=event.small,
                note=str(volume),
                limit=event.amount,
                count=pool.count + 1,
                documents=2,
            ),
        )


CONFIG = """
[store]
url = "{store}"
[mongo]
url = "{mongo}"
database = "{database}"
[redis]
url = "{redis}"
[chains.local]
rpc = ["{rpc}"]
chain_id = 31337
[contracts.market]
chain = "local"
address = "0x{contract}"
events = ["{signature}"]
[projections.pools]
projector = "tests.http.market:Market"
contract = "market"
{sinks}
[http]
listen = "127.0.0.1:0"
{http}
"""


class Fair(Town):
    """A town with a market in place of referrals."""

    def configured(self, http: str = "", **other: str) -> Path:
        path = self.folder / "chainfold.toml"
        sinks = self._values["sinks"].replace("users", "pools").replace("user:{address}", "pool:{name}")
        values = self._values | {"http": http, "sinks": sinks, "signature": SIGNATURE} | other
        path.write_text(CONFIG.format(**values))
        return path

    def trade(self, *trades: tuple[str, int, int]) -> None:
        """One block with these trades: name, amount, small."""
        self.chain.mine(
            logs=[
                Emission(CONTRACT, (TRADED.topic0,), encode(["string", "int256", "int64"], trade))
                for trade in trades
            ]
        )
