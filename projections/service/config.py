"""The configuration: one TOML file, decoded strictly. Every complaint names the path of its key."""

from __future__ import annotations

import difflib
import json
import os
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import msgspec
from eth_hash.auto import keccak
from msgspec import Struct, field
from sqlalchemy.engine import make_url

from projections.errors import ConfigurationError, SignatureError
from projections.event import Event, from_abi, parse

DEFAULT = Path("chainfold.toml")
NAME = re.compile(r"[a-z0-9][a-z0-9_-]*")
DURATION = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d)")
SECONDS = {"ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86400}


class _Strict(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """An unknown key is an error."""


class StoreSettings(_Strict, frozen=True):
    """`[store]`"""

    url: str = "sqlite:///chainfold.db"


class MongoSettings(_Strict, frozen=True):
    """`[mongo]`"""

    url: str = "embedded"
    database: str = "chainfold"


class RedisSettings(_Strict, frozen=True):
    """`[redis]`"""

    url: str = "embedded"


class _ChainTable(_Strict, frozen=True):
    rpc: list[str] | str
    chain_id: int
    finality: str | int = "finalized"
    poll: str = "2s"
    websocket: str | None = None


class _ContractTable(_Strict, frozen=True):
    chain: str
    address: str | list[str]
    start_block: int = 0
    end_block: int | None = None
    events: list[str] = []
    abi: str | None = None


class From(_Strict, frozen=True):
    """One entry of a projection's `from`."""

    contract: str
    roles: dict[str, str] = {}


class MongoTarget(_Strict, frozen=True):
    """A projection's `mongo`; `fields` renames ours to the application's."""

    collection: str
    fields: dict[str, str] = {}


class _RedisTable(_Strict, frozen=True):
    key: str
    ttl: str | None = None


class _ProjectionTable(_Strict, frozen=True):
    projector: str
    contract: str | None = None
    sources: list[From] = field(name="from", default_factory=list)
    follow: Literal["latest", "finalized"] = "latest"
    poison: Literal["halt", "quarantine"] = "halt"
    rebuild: Literal["ask", "auto"] = "ask"
    undo: int | Literal["finality", "forever"] = "finality"
    mongo: MongoTarget | None = None
    redis: _RedisTable | None = None


class _File(_Strict, frozen=True):
    store: StoreSettings = StoreSettings()
    mongo: MongoSettings = MongoSettings()
    redis: RedisSettings = RedisSettings()
    chains: dict[str, _ChainTable] = {}
    contracts: dict[str, _ContractTable] = {}
    projections: dict[str, _ProjectionTable] = {}


class Chain(Struct, frozen=True):
    """A chain; `poll` in seconds, `finality` a tag or a depth in blocks."""

    rpc: tuple[str, ...]
    chain_id: int
    finality: Literal["finalized", "safe"] | int
    poll: float


class Contract(Struct, frozen=True):
    """A contract at one or more addresses of 20 bytes, and the events it declares."""

    chain: str
    addresses: tuple[bytes, ...]
    start_block: int
    end_block: int | None
    events: tuple[Event, ...]


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


class Config(Struct, frozen=True):
    """All of it, checked. `folder` is where the file stands: relative paths are relative to it."""

    folder: Path
    store: StoreSettings
    mongo: MongoSettings
    redis: RedisSettings
    chains: dict[str, Chain]
    contracts: dict[str, Contract]
    projections: dict[str, ProjectionSettings]


def load(path: Path | None = None) -> Config:
    """The configuration at `path`, else CHAINFOLD_CONFIG, else ./chainfold.toml."""
    chosen = path or Path(os.environ.get("CHAINFOLD_CONFIG") or DEFAULT)
    try:
        text = chosen.read_text()
    except OSError as error:
        raise ConfigurationError(
            f"The configuration {chosen} cannot be read: {error.strerror}.",
            hint="Run `chainfold init` to write one, or name it with --config.",
        ) from error
    try:
        raw = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigurationError(f"{chosen} is not valid TOML: {error}.") from error
    folder = chosen.resolve().parent
    return _checked(_decoded(_expanded(raw, "", folder)), folder)


def _decoded(raw: Any) -> _File:
    try:
        return msgspec.convert(raw, _File)
    except msgspec.ValidationError as error:
        message = str(error)
        what, _, at = message.partition(" - at `$")
        where = re.sub(r"\[\.\.\.\]", ".*", at.removesuffix("`")).lstrip(".")
        unknown = re.search(r"unknown field `(.+)`", what)
        if unknown:
            raise _unknown_key(raw, where, unknown.group(1)) from error
        raise ConfigurationError(f"{where or 'The configuration'}: {what[0].lower()}{what[1:]}.") from error


def _unknown_key(raw: Any, where: str, key: str) -> ConfigurationError:
    """Names the whole path of the key, and the known key it is nearest to."""
    path = f"{where}.{key}" if where else key
    if ".*" in path:  # msgspec hides the name of a table of tables: look it up
        group = path.split(".")[0]
        found = [name for name, table in raw.get(group, {}).items() if _holds(table, key)]
        path = path.replace(".*", f".{found[0]}" if found else ".*", 1)
    tables: dict[str, type[Struct]] = {
        "": _File,
        "store": StoreSettings,
        "mongo": MongoSettings,
        "redis": RedisSettings,
        "chains": _ChainTable,
        "contracts": _ContractTable,
        "projections": _ProjectionTable,
    }
    table = tables.get(where.split(".", maxsplit=1)[0], _File)
    nested: dict[str, type[Struct]] = {"mongo": MongoTarget, "redis": _RedisTable, "from": From}
    last = where.rpartition(".")[2].partition("[")[0]
    if where.startswith("projections") and last in nested:
        table = nested[last]
    known = [item.encode_name for item in msgspec.structs.fields(table)]
    near = difflib.get_close_matches(key, known, n=1)
    hint = f"Did you mean {near[0]}?" if near else f"Known here are {', '.join(known)}."
    return ConfigurationError(f"{path} is no key of the configuration.", hint=hint)


def _holds(table: Any, key: str) -> bool:
    if isinstance(table, Mapping):
        return key in table or any(_holds(item, key) for item in table.values())
    return isinstance(table, list) and any(_holds(item, key) for item in table)


def _expanded(value: Any, where: str, folder: Path) -> Any:
    """`${NAME}` and `${file:/path}` in any string, replaced; nothing of them is ever shown."""
    match value:
        case dict():
            return {
                key: _expanded(item, f"{where}.{key}" if where else key, folder)
                for key, item in value.items()
            }
        case list():
            return [_expanded(item, f"{where}[{place}]", folder) for place, item in enumerate(value)]
        case str():
            return re.sub(r"\$\{([^}]+)\}", lambda found: _secret(found.group(1), where, folder), value)
        case _:
            return value


def _secret(name: str, where: str, folder: Path) -> str:
    if name.startswith("file:"):
        path = folder / name.removeprefix("file:")
        try:
            return path.read_text().strip()
        except OSError as error:
            raise ConfigurationError(f"{where}: the file {path} cannot be read: {error.strerror}.") from error
    if name not in os.environ:
        raise ConfigurationError(f"{where}: the environment variable {name} is not set.")
    return os.environ[name]


def _checked(raw: _File, folder: Path) -> Config:
    for group in ("chains", "contracts", "projections"):
        for name in getattr(raw, group):
            if not NAME.fullmatch(name):
                raise ConfigurationError(f"{group}.{name}: names are lower-case letters, digits, - and _.")
    chains = {name: _chain(table, f"chains.{name}") for name, table in raw.chains.items()}
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
    store = StoreSettings(url=_store_url(raw.store.url, folder))
    return Config(folder, store, raw.mongo, raw.redis, chains, contracts, projections)


def _store_url(url: str, folder: Path) -> str:
    """A relative SQLite file stands beside the configuration, wherever the command is run."""
    if url.startswith("sqlite:///") and not url.startswith(("sqlite:////", "sqlite:///:memory:")):
        return f"sqlite:///{folder / url.removeprefix('sqlite:///')}"
    try:
        make_url(url)
    except Exception as error:
        raise ConfigurationError("store.url cannot be parsed.") from error
    return url


def _chain(table: _ChainTable, where: str) -> Chain:
    urls = [table.rpc] if isinstance(table.rpc, str) else table.rpc
    if not urls:
        raise ConfigurationError(f"{where}.rpc names no endpoint.")
    for place, url in enumerate(urls):
        if not url.startswith(("http://", "https://")):
            raise ConfigurationError(f"{where}.rpc[{place}] must begin with http:// or https://.")
    finality: Any = table.finality
    if isinstance(finality, int) and finality < 0:
        raise ConfigurationError(f"{where}.finality: a depth of {finality} blocks is negative.")
    if isinstance(finality, str) and finality not in ("finalized", "safe"):
        raise ConfigurationError(
            f"{where}.finality: {finality} is neither finalized, nor safe, nor a depth in blocks."
        )
    return Chain(tuple(urls), table.chain_id, finality, _duration(table.poll, f"{where}.poll"))


def _contract(table: _ContractTable, where: str, chains: Mapping[str, Chain], folder: Path) -> Contract:
    _known(table.chain, chains, f"{where}.chain", "chain")
    given = [table.address] if isinstance(table.address, str) else table.address
    if not given:
        raise ConfigurationError(f"{where}.address names no address.")
    addresses = tuple(address(text, f"{where}.address") for text in given)
    if table.start_block < 0:
        raise ConfigurationError(f"{where}.start_block: {table.start_block} is negative.")
    if table.end_block is not None and table.end_block < table.start_block:
        raise ConfigurationError(
            f"{where}.end_block: {table.end_block} is below start_block {table.start_block}."
        )
    if not table.events and table.abi is None:
        raise ConfigurationError(f"{where} declares no event.", hint="Give events = [...] or abi = ...")
    declared: list[Event] = []
    try:
        declared += [parse(text) for text in table.events]
        if table.abi is not None:
            declared += from_abi(_abi(folder / table.abi, f"{where}.abi"), table.abi)
    except SignatureError as error:
        raise SignatureError(f"{where}: {error.message}", hint=error.hint) from error
    return Contract(table.chain, addresses, table.start_block, table.end_block, tuple(declared))


def _abi(path: Path, where: str) -> Any:
    try:
        return json.loads(path.read_text())
    except OSError as error:
        raise ConfigurationError(f"{where}: {path} cannot be read: {error.strerror}.") from error
    except ValueError as error:
        raise ConfigurationError(f"{where}: {path} is not valid JSON: {error}.") from error


def _projection(table: _ProjectionTable, where: str, contracts: Mapping[str, Contract]) -> ProjectionSettings:
    sources = [From(contract=table.contract)] if table.contract is not None else list(table.sources)
    if table.contract is not None and table.sources:
        raise ConfigurationError(f"{where} has both contract and from; one of them is enough.")
    if not sources:
        raise ConfigurationError(f"{where} reads no contract.", hint="Give contract = ... or from = [...].")
    for source in sources:
        _known(source.contract, contracts, f"{where}.contract", "contract")
    chains = sorted({contracts[source.contract].chain for source in sources})
    if len(chains) > 1:
        raise ConfigurationError(
            f"{where} reads contracts of several chains ({', '.join(chains)}).",
            hint="A projection follows the order of one chain: make one per chain.",
        )
    if isinstance(table.undo, int) and table.undo < 0:
        raise ConfigurationError(f"{where}.undo: {table.undo} blocks is negative.")
    redis = None
    if table.redis is not None:
        if len(re.findall(r"\{[A-Za-z_]\w*\}", table.redis.key)) != 1:
            raise ConfigurationError(
                f"{where}.redis.key: {table.redis.key} must name the document's key once, as "
                "in user:{address}."
            )
        ttl = table.redis.ttl
        seconds = None if ttl is None else int(_duration(ttl, f"{where}.redis.ttl"))
        redis = RedisTarget(table.redis.key, seconds)
    return ProjectionSettings(
        table.projector,
        tuple(sources),
        table.follow,
        table.poison,
        table.rebuild,
        table.undo,
        table.mongo,
        redis,
    )


def _known(name: str, known: Mapping[str, object], where: str, what: str) -> None:
    if name not in known:
        near = difflib.get_close_matches(name, known, n=1)
        hint = f"Did you mean {near[0]}?" if near else f"Known are: {', '.join(known) or 'none'}."
        raise ConfigurationError(f"{where}: there is no {what} {name}.", hint=hint)


def _duration(text: str, where: str) -> float:
    found = DURATION.fullmatch(text)
    if not found or float(found.group(1)) <= 0:
        raise ConfigurationError(f"{where}: {text} is no duration.", hint="Write 500ms, 2s, 5m, 24h or 7d.")
    return float(found.group(1)) * SECONDS[found.group(2)]


def address(text: str, where: str) -> bytes:
    """The 20 bytes of an address in any case; mixed case must be its checksum (EIP-55)."""
    if not re.fullmatch(r"0[xX][0-9a-fA-F]{40}", text):
        raise ConfigurationError(f"{where}: {text} is no address: 0x and 40 hexadecimal digits.")
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
rpc = ["{rpc}"]
chain_id = {chain_id}
finality = "finalized"                    # or "safe", or a depth in blocks where a node has no tags
poll = "2s"

[contracts.referral]
chain = "main"
address = "{contract}"
start_block = 0                           # the block that created the contract: saves reading from 0
events = ["ReferralRegistered(address indexed user, address indexed referrer, uint256 timestamp)"]
# abi = "referral.json"                   # instead of events

[projections.referrals]
projector = "referrals"                   # or your own: "module:Class"
contract = "referral"
# Where a contract names its parameters otherwise, or several feed one graph:
# from = [{{ contract = "referral", roles = {{ user = "referee", referrer = "inviter" }} }}]
mongo = {{ collection = "users" }}
redis = {{ key = "user:{{address}}", ttl = "24h" }}
"""
