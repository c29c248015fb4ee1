"""A chain that is typed by hand, its documents in every place, and a server over them, in one process."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import httpx
import msgspec

from eventstore.sources.simulated.chain import Emission, SimulatedChain
from eventstore.sources.simulated.node import SimulatedNode
from projections.decoding.event import parse
from projections.service.application.sync import synchronise
from projections.service.config.loader import load
from projections.service.demo.chain import FLAGSHIP
from projections.service.http.server import Server
from projections.service.runtime.wiring import Plan, planned
from projections.service.status.metrics import Meters

CONTRACT = bytes([0x5E]) * 20
LEFT = parse("ReferralRemoved(address indexed user)")
CHECKSUMMED = "0x52908400098527886E0F7030069857D2E4169EE7"

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
poll = "100ms"
[contracts.referral]
chain = "local"
address = "0x{contract}"
events = [
  "ReferralRegistered(address indexed user, address indexed referrer, uint256 timestamp)",
  "ReferralRemoved(address indexed user)",
]
[projections.referrals]
projector = "referrals"
contract = "referral"
{sinks}
[http]
listen = "127.0.0.1:0"
{http}
"""
MONGO = 'mongo = { collection = "users" }\n'
REDIS = 'redis = { key = "user:{address}", ttl = "1h" }\n'


def address(number: int) -> str:
    return f"0x{number:040x}"


def registered(user: int, referrer: int, at: int = 7) -> Emission:
    topics = (FLAGSHIP.topic0, user.to_bytes(32, "big"), referrer.to_bytes(32, "big"))
    return Emission(CONTRACT, topics, at.to_bytes(32, "big"))


class Town:
    """A chain, a node that serves it, and the configuration over both."""

    def __init__(self, folder: Path, *, store: str, mongo: Any = None, redis: str = "", **chain: Any) -> None:
        self.chain = SimulatedChain(**chain)
        self.folder = folder
        self._open = ExitStack()
        self.node = self._open.enter_context(SimulatedNode(self.chain))
        self._values: dict[str, str] = {
            "store": store,
            "mongo": mongo.url if mongo else "embedded",
            "database": mongo.database if mongo else "none",
            "redis": redis or "embedded",
            "rpc": self.node.url,
            "contract": CONTRACT.hex(),
            "sinks": (MONGO if mongo else "") + (REDIS if redis else ""),
        }

    def configured(self, http: str = "", **other: str) -> Path:
        """Where the configuration is, with these lines in `[http]`."""
        path = self.folder / "chainfold.toml"
        path.write_text(CONFIG.format(**(self._values | {"http": http} | other)))
        return path

    def mine(self, *pairs: tuple[int, int]) -> None:
        """One block in which these users register with these referrers."""
        self.chain.mine(logs=[registered(user, referrer) for user, referrer in pairs])

    def sync(self, **options: Any) -> None:
        """Catches up, as `chainfold sync` does."""
        with planned(load(self.configured())) as plan:
            synchronise(plan, **options)

    @property
    def redis(self) -> str:
        """The URL of the Redis that it is published to."""
        return self._values["redis"]

    @contextmanager
    def serving(self, http: str = "", *, documents: bool = True, port: int = 0) -> Iterator[httpx.Client]:
        """A client of a server over this town; without a port at any that is free."""
        with self.plan(http) as plan:
            assert plan.config.http is not None
            settings = msgspec.structs.replace(plan.config.http, port=port)
            server = Server(plan, settings, Meters("test"), documents=documents)
            with server, httpx.Client(base_url=server.url, timeout=30) as client:
                yield client

    @contextmanager
    def plan(self, http: str = "") -> Iterator[Plan]:
        with planned(load(self.configured(http))) as plan:
            yield plan

    def publish(self, *, redis: str, mongo: Any = None) -> None:
        """Adds a Redis, and a MongoDB if one is given, to the configuration."""
        self._values |= {"redis": redis, "sinks": self._values["sinks"] + (MONGO if mongo else "") + REDIS}
        if mongo:
            self._values |= {"mongo": mongo.url, "database": mongo.database}

    def move(self, *, mongo: str) -> None:
        """Says that MongoDB is elsewhere."""
        self._values["mongo"] = mongo

    def close(self) -> None:
        self._open.close()
