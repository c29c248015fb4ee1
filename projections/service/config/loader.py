"""The configuration: one TOML file, decoded strictly. Every complaint names the path of its key."""

from __future__ import annotations

import difflib
import os
import re
import tomllib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from eth_hash.auto import keccak
from msgspec import Struct
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError

from eventstore.redaction import keys_in
from projections.decoding.artifact import Abi, Lost, read
from projections.decoding.event import Event, parse
from projections.decoding.meaning import Declaration, Meaning
from projections.errors import ConfigurationError, SignatureError
from projections.service.config import alerts as alerting
from projections.service.config import fold as folding
from projections.service.config import http as listening
from projections.service.config import schedule as scheduling
from projections.service.config.placeholders import Placeholders
from projections.service.config.tables import (
    ChainTable,
    ContractTable,
    File,
    From,
    MongoSettings,
    MongoTarget,
    ProjectionTable,
    RedisSettings,
    StoreSettings,
    decoded,
)
from projections.service.config.webhooks import Webhook, webhooks

DEFAULT = Path("chainfold.toml")
DURATION = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d)")
LONGEST = 36_525 * 86_400  # seconds: what timers and databases still take
SECONDS = {"ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86400}


class Chain(Struct, frozen=True):
    """A chain; `poll` in seconds, `finality` a tag or a depth in blocks, `rate` in calls a second for
    each endpoint, `max_answer` the most bytes of one answer. With `prove` the service proves its history in
    the background; with `accept_unproven` what cannot be proved of it is a remark, and no failure of `verify
    events`."""

    rpc: tuple[str, ...]
    websocket: str | None
    chain_id: int
    finality: Literal["finalized", "safe"] | int
    follow: Literal["latest", "finalized"]
    poll: float
    rate: float | None
    prove: bool = False
    max_answer: int = 128 * 2**20
    accept_unproven: bool = False


class Contract(Struct, frozen=True):
    """A contract at one or more addresses of 20 bytes, and the events it declares.

    A `start_block` of None is looked for: it is the block that created the first of the addresses.
    """

    chain: str
    addresses: tuple[bytes, ...]
    start_block: int | None
    end_block: int | None
    topics: Literal["all", "declared"]
    events: tuple[Event, ...]
    lost: tuple[Lost, ...] = ()
    """Events of its ABI that cannot be used."""


class RedisTarget(Struct, frozen=True):
    """A projection's hashes: the pattern of their key, and their life in seconds."""

    key: str
    ttl: int | None


class ProjectionSettings(Struct, frozen=True):
    """A projection: which projector over which contracts, published where."""

    projector: str
    sources: tuple[From, ...]
    follow: Literal["latest", "finalized"]
    poison: Literal["halt", "quarantine"]
    rebuild: Literal["ask", "auto"]
    undo: int | Literal["finality", "forever"]
    mongo: MongoTarget | None
    redis: RedisTarget | None
    webhooks: tuple[Webhook, ...] = ()


class Config(Struct, frozen=True):
    """All of it, checked. `folder` is where the file stands: relative paths are relative to it."""

    folder: Path
    store: StoreSettings
    mongo: MongoSettings
    redis: RedisSettings
    chains: dict[str, Chain]
    contracts: dict[str, Contract]
    projections: dict[str, ProjectionSettings]
    alerts: alerting.Alerts
    schedule: scheduling.Schedule
    fold: folding.Folding
    http: listening.Http | None = None
    secrets: frozenset[str] = frozenset()
    """What no message may carry: keys and passwords of addresses, and what stood behind placeholders."""
    meanings: dict[str, Meaning] = {}
    """By chain what its contracts' logs are."""


def load(path: Path | None = None) -> Config:
    """The configuration at `path`, else CHAINFOLD_CONFIG, else ./chainfold.toml."""
    chosen = path or Path(os.environ.get("CHAINFOLD_CONFIG") or DEFAULT)
    try:
        raw = tomllib.loads(chosen.read_text("utf-8-sig"))
    except OSError as error:
        raise ConfigurationError(
            f"The configuration {chosen} cannot be read: {error.strerror}.",
            hint="Run `chainfold init` to write one, or name it with --config.",
        ) from error
    except UnicodeDecodeError as error:
        raise ConfigurationError(f"The configuration {chosen} is no UTF-8 text.") from error
    except tomllib.TOMLDecodeError as error:
        raise ConfigurationError(f"{chosen} is not valid TOML: {error}.") from error
    folder = chosen.resolve().parent
    placeholders = Placeholders(folder)
    filled = placeholders.fill(raw)
    with placeholders.hidden():
        return _checked(decoded(filled), folder, placeholders.values)


def _checked(raw: File, folder: Path, hidden: frozenset[str]) -> Config:
    fold = folding.folding(raw.fold, _duration)
    chains = {name: _chain(table, f"chains.{name}", fold.memory) for name, table in raw.chains.items()}
    ids = [chain.chain_id for chain in chains.values()]
    for name, chain in chains.items():
        if ids.count(chain.chain_id) > 1:
            raise ConfigurationError(f"chains.{name}.chain_id: {chain.chain_id} is configured twice.")
    contracts = {
        name: _contract(table, f"contracts.{name}", chains, folder) for name, table in raw.contracts.items()
    }
    projections = {
        name: _projection(table, f"projections.{name}", contracts) for name, table in raw.projections.items()
    }
    _distinct(projections)
    if raw.http is not None:
        _served(projections)
    store = StoreSettings(url=_store_url(raw.store.url, folder))
    alerts = alerting.alerts(raw.alerts, _duration)
    return Config(
        folder,
        store,
        raw.mongo,
        raw.redis,
        chains,
        contracts,
        projections,
        alerts,
        scheduling.schedule(raw.schedule, folder),
        fold,
        None if raw.http is None else listening.http(raw.http, _duration),
        hidden
        | _keys(raw.store.url, raw.mongo.url, raw.redis.url, chains, alerts.urls)
        | _keys_of_webhooks(projections.values())
        | frozenset(raw.http.tokens if raw.http is not None else ()),
        {name: Meaning(_declarations(contracts, name)) for name in chains},
    )


def _declarations(contracts: Mapping[str, Contract], chain: str) -> Iterator[Declaration]:
    """Every event of a chain's contracts, in the order of the configuration."""
    for name, contract in contracts.items():
        if contract.chain == chain:
            for event in contract.events:
                for address_ in contract.addresses:
                    yield Declaration(name, address_, event, contract.start_block or 0, contract.end_block)


def _keys(
    store: str, mongo: str, redis: str, chains: Mapping[str, Chain], alerts: Sequence[str]
) -> frozenset[str]:
    """Every key and password in the addresses of a configuration."""
    given = [store, mongo, redis]
    for chain in chains.values():
        given += [*chain.rpc, *([chain.websocket] if chain.websocket else [])]
    found = [keys_in(url) for url in given] + [keys_in(url, host=True) for url in alerts]
    return frozenset[str]().union(*found)


def _keys_of_webhooks(projections: Iterable[ProjectionSettings]) -> frozenset[str]:
    targets = [item.target for chosen in projections for item in chosen.webhooks]
    return frozenset(item.secret for item in targets).union(*(keys_in(item.url) for item in targets))


def _store_url(url: str, folder: Path) -> str:
    """A relative SQLite file stands beside the configuration, wherever the command is run."""
    try:
        parsed = make_url(url)
    except (ArgumentError, ValueError):
        # without its cause, which quotes the password
        raise ConfigurationError(
            "store.url cannot be parsed.", hint="Write sqlite:///file or postgresql+psycopg://host/database."
        ) from None
    file = parsed.database
    if parsed.get_backend_name() != "sqlite" or not file or file == ":memory:":
        return url
    return parsed.set(database=str(folder / file)).render_as_string(hide_password=False)


def _chain(table: ChainTable, where: str, memory: int) -> Chain:
    _whole(table.chain_id, f"{where}.chain_id", least=1)
    urls = [table.rpc] if isinstance(table.rpc, str) else table.rpc
    if not urls:
        raise ConfigurationError(f"{where}.rpc names no endpoint.")
    for place, url in enumerate(urls):
        if not url.startswith(("http://", "https://")):
            raise ConfigurationError(f"{where}.rpc[{place}] must begin with http:// or https://.")
        if url in urls[:place]:
            raise ConfigurationError(f"{where}.rpc[{place}] is there twice.")
    if table.websocket is not None and not table.websocket.startswith(("ws://", "wss://")):
        raise ConfigurationError(f"{where}.websocket must begin with ws:// or wss://.")
    rate = table.max_requests_per_second
    if rate is not None and not 0 < rate < float("inf"):
        raise ConfigurationError(f"{where}.max_requests_per_second: {rate} is no number above zero.")
    finality: Any = table.finality
    if isinstance(finality, int):
        _whole(finality, f"{where}.finality")
    if isinstance(finality, str) and finality not in ("finalized", "safe"):
        raise ConfigurationError(
            f"{where}.finality: {finality} is neither finalized, nor safe, nor a depth in blocks."
        )
    return Chain(
        tuple(urls),
        table.websocket,
        table.chain_id,
        finality,
        table.follow,
        _duration(table.poll, f"{where}.poll"),
        rate,
        table.prove,
        folding.answers(table.max_answer, f"{where}.max_answer", memory=memory),
        table.accept_unproven,
    )


def _contract(table: ContractTable, where: str, chains: Mapping[str, Chain], folder: Path) -> Contract:
    _known(table.chain, chains, f"{where}.chain", "chain")
    given = [table.address] if isinstance(table.address, str) else table.address
    if not given:
        raise ConfigurationError(f"{where}.address names no address.")
    at = f"{where}.address"
    addresses = tuple(
        address(text, at if isinstance(table.address, str) else f"{at}[{place}]")
        for place, text in enumerate(given)
    )
    for place, found in enumerate(addresses):
        if found in addresses[:place]:
            raise ConfigurationError(f"{at}[{place}]: 0x{found.hex()} is there twice.")
    first = None if table.start_block == "auto" else table.start_block
    if first is not None:
        _whole(first, f"{where}.start_block")
    if table.end_block is not None:
        _whole(table.end_block, f"{where}.end_block")
    if table.end_block is not None and first is not None and table.end_block < first:
        raise ConfigurationError(f"{where}.end_block: {table.end_block} is below start_block {first}.")
    declared: list[Event] = []
    lost: tuple[Lost, ...] = ()
    try:
        declared += [parse(text) for text in table.events]
        if table.abi is not None:
            abi = _abi(table.abi, folder, f"{where}.abi")
            declared, lost = [*declared, *abi.events], abi.lost
    except SignatureError as error:
        raise SignatureError(f"{where}: {error.message}", hint=error.hint) from error
    if not declared and lost:
        raise SignatureError(f"{where}: {lost[0].said}")
    if not declared:
        raise ConfigurationError(f"{where} declares no event.", hint="Give events = [...] or abi = ...")
    return Contract(table.chain, addresses, first, table.end_block, table.topics, tuple(declared), lost)


def _abi(named: str, folder: Path, where: str) -> Abi:
    """The ABI in a file beside the configuration; `file.json#Name` is that of one contract of several."""
    file, mark, contract = named, "", ""
    if not (folder / named).exists():
        file, mark, contract = named.rpartition("#") if "#" in named else (named, "", "")
    path = folder / file
    try:
        text = path.read_text("utf-8-sig")
    except OSError as error:
        raise ConfigurationError(f"{where}: {path} cannot be read: {error.strerror}.") from error
    except UnicodeDecodeError as error:
        raise ConfigurationError(f"{where}: {path} is no UTF-8 text.") from error
    return read(text, file, contract=contract if mark else None)


def _projection(table: ProjectionTable, where: str, contracts: Mapping[str, Contract]) -> ProjectionSettings:
    sources = [From(contract=table.contract)] if table.contract is not None else list(table.sources)
    if table.contract is not None and table.sources:
        raise ConfigurationError(f"{where} has both contract and from; one of them is enough.")
    if not sources:
        raise ConfigurationError(f"{where} reads no contract.", hint="Give contract = ... or from = [...].")
    for place, source in enumerate(sources):
        key = f"{where}.contract" if table.contract is not None else f"{where}.from[{place}].contract"
        _known(source.contract, contracts, key, "contract")
        declared = {event.name: event for event in contracts[source.contract].events}
        lost = {item.name: item.said for item in contracts[source.contract].lost}
        for at, name in enumerate(source.events):
            if name in lost and name not in declared:
                raise SignatureError(f"{where}.from[{place}].events[{at}]: {lost[name]}")
            _known(name, declared, f"{where}.from[{place}].events[{at}]", "event")
    chains = sorted({contracts[source.contract].chain for source in sources})
    if len(chains) > 1:
        raise ConfigurationError(
            f"{where} reads contracts of several chains ({', '.join(chains)}).",
            hint="A projection follows the order of one chain: make one per chain.",
        )
    if isinstance(table.undo, int):
        _whole(table.undo, f"{where}.undo")
    if table.mongo is not None and not table.mongo.collection:
        raise ConfigurationError(f"{where}.mongo.collection is empty.")
    redis = None
    if table.redis is not None:
        if len(re.findall(r"\{[A-Za-z_]\w*\}", table.redis.key)) != 1:
            raise ConfigurationError(
                f"{where}.redis.key: {table.redis.key} must name the document's key once, as "
                "in user:{address}."
            )
        ttl = table.redis.ttl
        life = None if ttl is None else _duration(ttl, f"{where}.redis.ttl")
        if life is not None and life != int(life):
            raise ConfigurationError(f"{where}.redis.ttl: {ttl} is no whole number of seconds.")
        redis = RedisTarget(table.redis.key, None if life is None else int(life))
    return ProjectionSettings(
        table.projector,
        tuple(sources),
        table.follow,
        table.poison,
        table.rebuild,
        table.undo,
        table.mongo,
        redis,
        webhooks(table.webhook, where, follow=table.follow, seconds=_duration),
    )


def _known(name: str, known: Mapping[str, object], where: str, what: str) -> None:
    if name not in known:
        near = difflib.get_close_matches(name, known, n=1)
        hint = f"Did you mean {near[0]}?" if near else f"Known are: {', '.join(known) or 'none'}."
        raise ConfigurationError(f"{where}: there is no {what} {name}.", hint=hint)


def _served(projections: Iterable[str]) -> None:
    """Refuses a projection whose path would be one of the API's own."""
    for name in projections:
        if name in listening.TAKEN:
            raise ConfigurationError(
                f"projections.{name}: with [http] it would be at /v1/{name}, a path of the API itself.",
                hint="Give the projection another name; `chainfold sync` builds it anew under that.",
            )


def _distinct(projections: Mapping[str, ProjectionSettings]) -> None:
    """Two projections that publish to one place would take each other's documents for foreign ones."""
    taken: dict[tuple[str, str], str] = {}
    for name, chosen in projections.items():
        places = []
        if chosen.mongo is not None:
            places.append(("mongo.collection", chosen.mongo.collection))
        if chosen.redis is not None:
            places.append(("redis.key", re.sub(r"\{\w+\}", "{}", chosen.redis.key)))
        for key, place in places:
            other = taken.setdefault((key, place), name)
            if other != name:
                raise ConfigurationError(
                    f"projections.{name}.{key}: {place} is what projections.{other} publishes to."
                )


def _whole(number: int, where: str, *, least: int = 0) -> None:
    """Chain ids and block numbers must fit the store's 64-bit integers."""
    if not least <= number < 2**63:
        raise ConfigurationError(f"{where}: {number} is not between {least} and 2^63 - 1.")


def _duration(text: str, where: str) -> float:
    found = DURATION.fullmatch(text)
    seconds = float(found.group(1)) * SECONDS[found.group(2)] if found else 0.0
    if seconds <= 0:
        raise ConfigurationError(
            f"{where}: {text!r} is no duration above zero.", hint="Write 500ms, 2s, 5m, 24h or 7d."
        )
    if seconds > LONGEST:
        raise ConfigurationError(f"{where}: {text} is longer than a hundred years.")
    return seconds


def address(text: str, where: str) -> bytes:
    """The 20 bytes of an address in any case; mixed case must be its checksum (EIP-55)."""
    if not re.fullmatch(r"0[xX][0-9a-fA-F]*", text):
        raise ConfigurationError(f"{where}: {text!r} is no address: 0x and 40 hexadecimal digits.")
    if len(text) != 42:
        raise ConfigurationError(
            f"{where}: {text} has {len(text) - 2} hexadecimal digits, an address has 40."
        )
    digits = text[2:]
    if digits not in (digits.lower(), digits.upper()) and digits != _checksummed(digits):
        raise ConfigurationError(
            f"{where}: the checksum of {text} is wrong.",
            hint=f"If every digit is right, it is written 0x{_checksummed(digits)}.",
        )
    return bytes.fromhex(digits)


def _checksummed(digits: str) -> str:
    low = digits.lower()
    marks = keccak(low.encode()).hex()
    return "".join(c.upper() if int(mark, 16) >= 8 else c for c, mark in zip(low, marks, strict=False))


def template(*, rpc: str, chain_id: int, contract: str) -> str:
    """The commented file that `chainfold init` writes."""
    return TEMPLATE.format(rpc=rpc, chain_id=chain_id, contract=contract)


TEMPLATE = """\
# chainfold reads the events of the contracts below, keeps them for ever in [store], and folds them
# into documents for MongoDB and Redis. Any string may use ${{NAME}} (environment) or
# ${{file:/run/secrets/name}}. Relative paths are relative to this file.

[store]
url = "sqlite:///chainfold.db"            # or "postgresql+psycopg://user:${{PGPASSWORD}}@host/chainfold"

[mongo]
url = "embedded"                          # or "mongodb://...": embedded is a server kept beside the store
database = "chainfold"

[redis]
url = "embedded"                          # or "redis://...", "rediss://..."

[chains.main]
rpc = ["{rpc}"]                           # several: the first while it is well, else the next
# websocket = "wss://..."                 # wakes the service when the node announces a head
chain_id = {chain_id}
finality = "finalized"                    # or "safe", or a depth in blocks where a node has no tags
follow = "latest"                         # or "finalized": no block is read that may still change
poll = "2s"
# max_requests_per_second = 25            # to each endpoint; `chainfold sync --estimate` counts beforehand
# prove = true                            # the service proves the history in the background
# accept_unproven = true                  # of a chain of which nothing can be proved: no failure of `verify`

[contracts.referral]
chain = "main"
address = "{contract}"
start_block = 0                           # the block that created the contract; "auto" looks for it
# topics = "declared"                     # of a busy contract only the events declared here
events = ["ReferralRegistered(address indexed user, address indexed referrer, uint256 timestamp)"]
# abi = "referral.json"                   # instead of events

[projections.referrals]
projector = "referrals"                   # or your own: "module:Class"
contract = "referral"
# Where a contract names its parameters otherwise, or several feed one graph:
# from = [{{ contract = "referral", roles = {{ user = "referee", referrer = "inviter" }} }}]
mongo = {{ collection = "users" }}
redis = {{ key = "user:{{address}}", ttl = "24h" }}

# [schedule]
# sync = "*/5 * * * *"                    # instead of following the head
# verify = "0 4 * * *"                    # beside it

# [alerts]
# urls = ["${{ALERT_URL}}"]               # any Apprise URL; `chainfold alerts test` sends a message

# [http]                                  # `chainfold run` serves documents, status and metrics there
# listen = "127.0.0.1:8080"
# tokens = ["${{API_TOKEN}}"]
"""
