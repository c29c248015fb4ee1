"""The configuration: what a file means, and that every complaint is one sentence with a path."""

from __future__ import annotations

import json
import traceback
from pathlib import Path

import pytest

from projections.errors import ConfigurationError, SignatureError
from projections.service.config.loader import load
from projections.service.config.settings import Config
from projections.service.config.template import template

A = "0x" + "ab" * 20
VITALIK = "0xd8dA6BF26964aF9D7eEd9e03E53415D37aA96045"
SECRET = "correct-horse-battery"

CHAIN = {"rpc": ["https://node.example"], "chain_id": 1}
CONTRACT = {"chain": "main", "address": A, "events": ["E(address user)"]}
PROJECTION = {"projector": "referrals", "contract": "r", "mongo": {"collection": "users"}}
SAMPLE = {"chains": {"main": CHAIN}, "contracts": {"r": CONTRACT}, "projections": {"p": PROJECTION}}


def toml(value: object) -> str:
    """A value as inline TOML."""
    if isinstance(value, dict):
        return "{ " + ", ".join(f'"{key}" = {toml(item)}' for key, item in value.items()) + " }"
    if isinstance(value, list):
        return "[" + ", ".join(toml(item) for item in value) + "]"
    return json.dumps(value)


def merged(base: object, over: object) -> object:
    if isinstance(base, dict) and isinstance(over, dict):
        return base | {key: merged(base.get(key), item) for key, item in over.items()}
    return over


class Folder:
    """A folder with a configuration in it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.file = path / "chainfold.toml"

    def load(self, **changes: object) -> Config:
        """The sample, changed in depth, written and loaded."""
        tables = merged(SAMPLE, changes)
        assert isinstance(tables, dict)
        return self.load_text("\n".join(f"{key} = {toml(item)}" for key, item in tables.items()))

    def load_text(self, text: str) -> Config:
        self.file.write_text(text)
        return load(self.file)

    def refusal(self, **changes: object) -> str:
        with pytest.raises((ConfigurationError, SignatureError)) as caught:
            self.load(**changes)
        return str(caught.value)

    def contract(self, **changes: object) -> str:
        return self.refusal(contracts={"r": changes})

    def chain(self, **changes: object) -> str:
        return self.refusal(chains={"main": changes})

    def projection(self, **changes: object) -> str:
        return self.refusal(projections={"p": changes})


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    return Folder(tmp_path)


# --- what a file means ---


def test_an_empty_file_is_all_defaults(folder: Folder) -> None:
    config = folder.load_text("")
    assert config.servers["mongo"].url == config.servers["redis"].url == "embedded"
    assert config.store.url == f"sqlite:///{folder.path}/chainfold.db"
    assert not config.projections


def test_the_template_loads_back(folder: Folder) -> None:
    config = folder.load_text(template(rpc="http://127.0.0.1:8545", chain_id=31337, contract=VITALIK))
    assert config.contracts["referral"].addresses == (bytes.fromhex(VITALIK[2:]),)
    assert list(config.projections["referrals"].sinks) == ["mongo", "redis"]
    assert config.projections["referrals"].sinks["redis"].settings.ttl == 86_400


def test_a_byte_order_mark_is_no_part_of_the_file(folder: Folder) -> None:
    folder.file.write_bytes(b"\xef\xbb\xbf" + b"[store]\n")
    assert load(folder.file).folder == folder.path


def test_the_environment_says_where_the_file_is(folder: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    folder.load()
    monkeypatch.setenv("CHAINFOLD_CONFIG", str(folder.file))
    assert set(load().projections) == {"p"}


def test_without_a_place_it_is_chainfold_toml_of_the_working_directory(
    folder: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder.load()
    monkeypatch.delenv("CHAINFOLD_CONFIG", raising=False)
    monkeypatch.chdir(folder.path)
    assert set(load().projections) == {"p"}


@pytest.mark.parametrize(
    ("url", "resolved"),
    [
        ("sqlite:///x.db", "sqlite:///{}/x.db"),
        ("sqlite:///data/x.db?timeout=3", "sqlite:///{}/data/x.db?timeout=3"),
        ("sqlite+pysqlite:///x.db", "sqlite+pysqlite:///{}/x.db"),
        ("sqlite:////var/x.db", "sqlite:////var/x.db"),
        ("sqlite:///:memory:", "sqlite:///:memory:"),
        ("postgresql+psycopg://u:p@h/d", "postgresql+psycopg://u:p@h/d"),
    ],
)
def test_a_relative_sqlite_file_stands_beside_the_configuration(
    folder: Folder, url: str, resolved: str
) -> None:
    assert folder.load(store={"url": url}).store.url == resolved.format(folder.path)


def test_an_abi_stands_beside_the_configuration(folder: Folder) -> None:
    items = [{"type": "event", "name": "Left", "inputs": [{"name": "user", "type": "address"}]}]
    (folder.path / "abi.json").write_text(json.dumps({"abi": items}))
    config = folder.load(contracts={"r": {"events": [], "abi": "abi.json"}})
    assert [event.canonical for event in config.contracts["r"].events] == ["Left(address)"]


def test_one_contract_of_several_in_a_file_is_named_behind_it(folder: Folder) -> None:
    def abi(name: str) -> dict[str, object]:
        return {"abi": [{"type": "event", "name": name, "inputs": []}]}

    built = {"contracts": {"a.sol": {"One": abi("First"), "Two": abi("Second")}}}
    (folder.path / "build.json").write_text(json.dumps(built))
    config = folder.load(contracts={"r": {"events": [], "abi": "build.json#Two"}})
    assert [event.name for event in config.contracts["r"].events] == ["Second"]
    assert "several contracts: a.sol:One, a.sol:Two. Name one" in folder.contract(abi="build.json")
    assert "nowhere.json cannot be read" in folder.contract(abi="nowhere.json#Two")
    (folder.path / "odd#name.json").write_text(json.dumps(abi("Odd")))
    config = folder.load(contracts={"r": {"events": [], "abi": "odd#name.json"}})
    assert [event.name for event in config.contracts["r"].events] == ["Odd"]


@pytest.mark.parametrize(
    ("text", "seconds"), [("500ms", 0.5), ("2s", 2), ("5m", 300), ("1.5h", 5400), ("7d", 604_800)]
)
def test_a_duration_is_a_number_and_a_unit(folder: Folder, text: str, seconds: float) -> None:
    assert folder.load(chains={"main": {"poll": text}}).chains["main"].poll == seconds


@pytest.mark.parametrize("text", [VITALIK, VITALIK.lower(), "0x" + VITALIK[2:].upper()])
def test_an_address_may_be_written_in_any_case(folder: Folder, text: str) -> None:
    config = folder.load(contracts={"r": {"address": text}})
    assert config.contracts["r"].addresses == (bytes.fromhex(VITALIK[2:]),)


def test_one_contract_is_short_for_a_list_of_one(folder: Folder) -> None:
    (source,) = folder.load().projections["p"].sources
    assert (source.contract, source.roles) == ("r", {})


def test_several_contracts_feed_one_projection_each_with_its_roles(folder: Folder) -> None:
    text = f"""
        [chains.main]
        rpc = "https://node.example"
        chain_id = 1
        [contracts.v1]
        chain = "main"
        address = "{A}"
        events = ["Joined(address indexed inviter, address indexed referee)"]
        [contracts.v2]
        chain = "main"
        address = "{VITALIK}"
        events = ["ReferralRegistered(address indexed user, address indexed referrer)"]
        [projections.p]
        projector = "referrals"
        from = [{{ contract = "v1", roles = {{ user = "referee" }} }}, {{ contract = "v2" }}]
    """
    sources = folder.load_text(text).projections["p"].sources
    assert [(source.contract, source.roles) for source in sources] == [
        ("v1", {"user": "referee"}),
        ("v2", {}),
    ]


# --- unknown and missing keys, wrong types ---


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"stoer": {}}, "stoer is not a key of the configuration. Did you mean store?"),
        ({"store": {"ulr": ""}}, "store.ulr is not a key of the configuration. Did you mean url?"),
        (
            {"chains": {"main": {"finalty": 1}}},
            "chains.main.finalty is not a key of the configuration. Did you mean finality?",
        ),
        (
            {"projections": {"p": {"mongo": {"colection": ""}}}},
            "projections.p.mongo.colection is not a key of the configuration. Did you mean collection?",
        ),
        (
            {"projections": {"p": {"redis": {"key": "{a}", "tll": "1s"}}}},
            "projections.p.redis.tll is not a key of the configuration. Did you mean ttl?",
        ),
        (
            {"projections": {"p": {"from": [{"contract": "r", "rolls": {}}]}}},
            "projections.p.from[0].rolls is not a key of the configuration. Did you mean roles?",
        ),
        (
            {"mongo": {"zzz": 1}},
            "mongo.zzz is not a key of the configuration. Known here are url, database.",
        ),
    ],
)
def test_an_unknown_key_is_named_by_its_path_with_the_nearest_known_one(
    folder: Folder, changes: dict[str, object], said: str
) -> None:
    assert folder.refusal(**changes) == said


def test_an_unknown_key_is_looked_for_in_the_right_table_of_several(folder: Folder) -> None:
    said = folder.refusal(
        contracts={"s": CONTRACT | {"roles": 1}}, projections={"q": {"from": [{"roles": {}}]}}
    )
    assert said.startswith("contracts.s.roles is not a key")


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"chain_id": "1"}, "chains.main.chain_id: expected an integer, got a string."),
        ({"rpc": [1]}, "chains.main.rpc[0]: expected a string, got an integer."),
        ({"chain_id": 0}, "chains.main.chain_id: 0 is not between 1 and 2^63 - 1."),
        ({"rpc": []}, "chains.main.rpc names no endpoint."),
        ({"rpc": ["http://one", "http://one"]}, "chains.main.rpc[1] is there twice."),
        ({"websocket": "http://node"}, "chains.main.websocket must begin with ws:// or wss://."),
        (
            {"max_requests_per_second": 0},
            "chains.main.max_requests_per_second: 0.0 is not a number above zero.",
        ),
        (
            {"follow": "safe"},
            "chains.main.follow: 'safe' is not known here. Known are latest, finalized.",
        ),
        ({"rpc": "ws://node"}, "chains.main.rpc[0] must begin with http:// or https://."),
        (
            {"finality": "never"},
            "chains.main.finality: never is neither finalized, nor safe, nor a depth in blocks.",
        ),
        ({"finality": -1}, "chains.main.finality: -1 is not between 0 and 2^63 - 1."),
    ],
)
def test_a_chain_that_cannot_be_is_refused(folder: Folder, changes: dict[str, object], said: str) -> None:
    assert folder.chain(**changes) == said


def test_a_missing_key_is_named_by_its_path(folder: Folder) -> None:
    assert folder.refusal(chains={"b": {"rpc": "http://b"}}) == "chains.b.chain_id is missing."


def test_a_chain_may_name_a_source_with_settings_of_its_own(folder: Folder) -> None:
    chain = {"source": "recording", "chain_id": 2, "settings": {"path": "chain.jsonl"}}
    made = folder.load(chains={"b": chain}).chains["b"]
    assert (made.source, made.settings, made.rpc) == ("recording", {"path": "chain.jsonl"}, ())


def test_a_key_in_an_address_of_such_settings_is_a_secret(folder: Folder) -> None:
    settings = {"url": f"https://files.example/{SECRET}/x"}
    made = folder.load(chains={"b": {"source": "recording", "chain_id": 2, "settings": settings}})
    assert SECRET in made.secrets


@pytest.mark.parametrize(
    ("chain", "said"),
    [
        ({}, "chains.b.rpc is missing. Or name a source that an installed package adds."),
        (
            {"rpc": "http://a", "settings": {"path": "x"}},
            "chains.b.settings has no source that it is for. Set chains.b.source, or remove it.",
        ),
        (
            {"rpc": "http://a", "source": "recording"},
            "chains.b has both source and rpc. "
            "rpc is for endpoints of JSON-RPC; a source has settings of its own.",
        ),
        (
            {"source": "recording", "max_answer": "1MB"},
            "chains.b has both source and max_answer. "
            "max_answer is for endpoints of JSON-RPC; a source has settings of its own.",
        ),
    ],
)
def test_a_chain_has_endpoints_or_a_source(folder: Folder, chain: dict[str, object], said: str) -> None:
    assert folder.refusal(chains={"b": {"chain_id": 2, **chain}}) == said


@pytest.mark.parametrize("group", ["chains", "contracts", "projections"])
def test_a_name_is_lower_case(folder: Folder, group: str) -> None:
    said = folder.refusal(**{group: {"Main Net": {}}})
    assert said == f"{group}.Main Net: names are lower-case letters, digits, - and _."


def test_a_word_outside_the_known_ones_is_refused_with_them(folder: Folder) -> None:
    said = folder.projection(follow="newest")
    assert said == "projections.p.follow: 'newest' is not known here. Known are latest, finalized."


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[store", "is not valid TOML"),
        ("[store]\n[store]", "is not valid TOML"),
        ("chains = 5", "chains must be tables. Write [chains.name]."),
    ],
)
def test_a_file_that_is_no_configuration_is_refused(folder: Folder, text: str, said: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        folder.load_text(text)
    assert said in str(caught.value)


def test_a_file_that_is_no_text_is_refused(folder: Folder) -> None:
    folder.file.write_bytes(b"\xff")
    with pytest.raises(ConfigurationError, match="is not UTF-8 text"):
        load(folder.file)


def test_a_file_that_is_not_there_says_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="chainfold init"):
        load(tmp_path / "nowhere.toml")


# --- addresses, blocks, durations, events ---


def test_a_wrong_checksum_is_refused_with_the_right_one(folder: Folder) -> None:
    wrong = VITALIK.replace("dA6B", "DA6B")
    said = folder.contract(address=wrong)
    assert said.startswith(f"contracts.r.address: the checksum of {wrong} is wrong.")
    assert VITALIK in said


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("0x12", "contracts.r.address: 0x12 has 2 hexadecimal digits, an address has 40."),
        ([A, A + "00"], f"contracts.r.address[1]: {A}00 has 42 hexadecimal digits, an address has 40."),
        (
            "vitalik.eth",
            "contracts.r.address: 'vitalik.eth' is not an address: 0x and 40 hexadecimal digits.",
        ),
        ([], "contracts.r.address names no address."),
        ([A, A.upper().replace("X", "x")], f"contracts.r.address[1]: {A} is there twice."),
    ],
)
def test_an_address_that_cannot_be_is_refused(folder: Folder, given: object, said: str) -> None:
    assert folder.contract(address=given) == said


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"start_block": -1}, "contracts.r.start_block: -1 is not between 0 and 2^63 - 1."),
        ({"start_block": 2**63}, f"contracts.r.start_block: {2**63} is not between 0 and 2^63 - 1."),
        ({"start_block": 9, "end_block": 3}, "contracts.r.end_block: 3 is below start_block 9."),
        ({"events": []}, "contracts.r declares no event. Give events = [...] or abi = ..."),
        (
            {"events": ["E(addres a)"]},
            "contracts.r: In the event 'E(addres a)' the parameter a has no known type: addres.",
        ),
    ],
)
def test_a_contract_that_cannot_be_is_refused(folder: Folder, changes: dict[str, object], said: str) -> None:
    assert folder.contract(**changes) == said


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{", "is not valid JSON"),
        ("[]", "contracts.r declares no event."),
        ('{"x": 1}', "holds no ABI"),
    ],
)
def test_an_abi_that_declares_nothing_is_refused(folder: Folder, text: str, said: str) -> None:
    (folder.path / "abi.json").write_text(text)
    assert said in folder.contract(events=[], abi="abi.json")


def test_an_abi_that_is_not_there_is_refused_by_its_key(folder: Folder) -> None:
    assert folder.contract(abi="nowhere.json").startswith("contracts.r.abi: ")


@pytest.mark.parametrize("text", ["0s", "-1s", "2", "2 s", "", "1w", "1h30m"])
def test_what_is_no_duration_is_refused(folder: Folder, text: str) -> None:
    said = folder.chain(poll=text)
    assert said == (
        f"chains.main.poll: {text!r} is not valid: durations are above zero and have their unit. "
        "Write 500ms, 2s, 5m, 24h or 7d."
    )


def test_a_duration_no_timer_takes_is_refused(folder: Folder) -> None:
    assert "longer than a hundred years" in folder.chain(poll="99999999999d")


def test_a_life_of_less_than_a_second_would_delete_at_once_and_is_refused(folder: Folder) -> None:
    said = folder.projection(redis={"key": "user:{address}", "ttl": "500ms"})
    assert said == "projections.p.redis.ttl: 500ms is not a whole number of seconds."


# --- what must fit together ---


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"contract": "q"}, "projections.p.contract: there is no contract q. Known are: r."),
        (
            {"from": [{"contract": "r"}]},
            "projections.p has both contract and from; one of them is enough.",
        ),
        ({"undo": -1}, "projections.p.undo: -1 is not between 0 and 2^63 - 1."),
        ({"mongo": {"collection": ""}}, "projections.p.mongo.collection is empty."),
        (
            {"redis": {"key": "user"}},
            "projections.p.redis.key: user must name the document's key once, as in user:{address}.",
        ),
    ],
)
def test_a_projection_that_cannot_be_is_refused(
    folder: Folder, changes: dict[str, object], said: str
) -> None:
    assert folder.projection(**changes) == said


def test_a_contract_on_an_unknown_chain_is_refused_with_the_nearest(folder: Folder) -> None:
    assert folder.contract(chain="mian") == "contracts.r.chain: there is no chain mian. Did you mean main?"


def test_an_unknown_contract_in_a_list_is_named_by_its_place(folder: Folder) -> None:
    sources = [{"contract": "r"}, {"contract": "zz"}]
    said = folder.refusal(projections={"q": {"projector": "referrals", "from": sources}})
    assert said.startswith("projections.q.from[1].contract: there is no contract zz.")


def test_a_projection_without_a_contract_is_refused(folder: Folder) -> None:
    said = folder.refusal(projections={"q": {"projector": "referrals"}})
    assert said == "projections.q reads no contract. Give contract = ... or from = [...]."


def test_a_projection_over_two_chains_is_refused(folder: Folder) -> None:
    said = folder.refusal(
        chains={"b": {"rpc": "http://b", "chain_id": 2}},
        contracts={"s": CONTRACT | {"chain": "b"}},
        projections={"q": {"projector": "x", "from": [{"contract": "r"}, {"contract": "s"}]}},
    )
    assert said.startswith("projections.q reads contracts of several chains (b, main).")


def test_two_chains_of_one_id_are_refused(folder: Folder) -> None:
    assert folder.refusal(chains={"b": CHAIN}).endswith("chain_id: 1 is configured twice.")


def test_two_projections_into_one_collection_are_refused(folder: Folder) -> None:
    said = folder.refusal(projections={"q": PROJECTION})
    assert said == "projections.q.mongo.collection: users is what projections.p publishes to."


def test_two_projections_under_one_redis_key_are_refused(folder: Folder) -> None:
    said = folder.refusal(
        projections={
            "p": {"redis": {"key": "user:{address}"}},
            "q": {"projector": "x", "contract": "r", "redis": {"key": "user:{id}"}},
        }
    )
    assert said.startswith("projections.q.redis.key: user:{} is what projections.p publishes to.")


# --- what is secret ---


def test_a_variable_is_filled_in_anywhere_in_a_string(
    folder: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KEY", SECRET)
    config = folder.load(chains={"main": {"rpc": ["https://node.example/${KEY}/x"]}})
    assert config.chains["main"].rpc == (f"https://node.example/{SECRET}/x",)


def test_a_file_is_filled_in_without_its_last_line_end(folder: Folder) -> None:
    (folder.path / "key").write_text(SECRET + "\n")
    assert (
        folder.load(mongo={"url": "mongodb://u:${file:key}@h/"}).servers["mongo"].url
        == f"mongodb://u:{SECRET}@h/"
    )


def test_a_variable_that_is_not_set_is_named_with_the_key(
    folder: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("NOWHERE", raising=False)
    said = folder.chain(rpc=["http://a", "https://${NOWHERE}"])
    assert said == "chains.main.rpc[1]: the environment variable NOWHERE is not set."


def test_a_secret_file_that_is_not_there_is_named_with_the_key(folder: Folder) -> None:
    said = folder.refusal(mongo={"url": "${file:nowhere}"})
    assert said == f"mongo.url: the file {folder.path}/nowhere cannot be read: No such file or directory."


def test_a_secret_file_that_is_no_text_is_refused_unseen(folder: Folder) -> None:
    (folder.path / "key").write_bytes(SECRET.encode() + b"\xff")
    said = folder.refusal(mongo={"url": "${file:key}"})
    assert said.endswith("is not UTF-8 text.")


@pytest.mark.parametrize("text", ["mongodb://${KEY", "mongodb://${}", "mongodb://${two words}"])
def test_a_placeholder_that_is_not_closed_or_named_is_refused(folder: Folder, text: str) -> None:
    assert folder.refusal(mongo={"url": text}).startswith("mongo.url: a ${ is not followed by a name")


@pytest.mark.parametrize(
    "changes",
    [
        {"store": {"url": "${KEY}"}},
        {"store": {"url": "postgresql+psycopg://u:${KEY}@h:port/d"}},
        {"chains": {"main": {"rpc": ["${KEY}"]}}},
        {"chains": {"main": {"finality": "${KEY}"}}},
        {"chains": {"main": {"poll": "${KEY}"}}},
        {"contracts": {"r": {"chain": "${KEY}"}}},
        {"contracts": {"r": {"address": "${KEY}"}}},
        {"contracts": {"r": {"events": ["${KEY}"]}}},
        {"contracts": {"r": {"abi": "${KEY}"}}},
        {"projections": {"p": {"contract": "${KEY}"}}},
        {"projections": {"p": {"follow": "${KEY}"}}},
        {"projections": {"p": {"redis": {"key": "${KEY}"}}}},
        {"projections": {"p": {"redis": {"key": "{a}", "ttl": "${KEY}"}}}},
    ],
)
def test_no_complaint_shows_what_stood_behind_a_variable(
    folder: Folder, monkeypatch: pytest.MonkeyPatch, changes: dict[str, object]
) -> None:
    """Neither the message nor the traceback that --debug prints."""
    monkeypatch.setenv("KEY", SECRET)
    with pytest.raises((ConfigurationError, SignatureError)) as caught:
        folder.load(**changes)
    assert SECRET not in "".join(traceback.format_exception(caught.value))


def test_a_short_value_is_hidden_without_garbling_the_sentence(
    folder: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KEY", "a")
    assert folder.chain(poll="${KEY}").startswith("chains.main.poll: '${KEY}' is not valid: durations")
