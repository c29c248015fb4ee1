"""A source outside the packages: installed, proved by the public suite, and read by `chainfold sync`."""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from random import Random
from types import ModuleType
from typing import Any

import pytest

from eventstore.errors import AnswerRefused, SourceUnavailable
from eventstore.sources import Source
from eventstore.sources.adapter import ChainSettings
from eventstore.sources.simulated.chain import SimulatedChain
from eventstore.storage.store import Store
from projections.errors import ConfigurationError
from projections.service.config.loader import load
from projections.service.runtime.wiring import Plan
from projections.service.status.projections import served_documents
from projections.testing.contracts.node import NodeContract
from tests.end_to_end.site import CONTRACT, SIGNATURE, bare, expected, registrations

pytestmark = pytest.mark.process
FOLDER = Path("examples/adapters/source").resolve()


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The folder that the example was installed into, on the path of Python."""
    target = tmp_path_factory.mktemp("installed")
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--target", str(target)]
    offline = ["--no-deps", "--no-build-isolation", "--no-index", "--disable-pip-version-check"]
    subprocess.run([*pip, *offline, str(FOLDER)], check=True)
    sys.path.insert(0, str(target))
    yield target
    sys.path.remove(str(target))
    sys.modules.pop("chainfold_recording", None)


@pytest.fixture
def recording(package: Path) -> ModuleType:
    return importlib.import_module("chainfold_recording")


def record(chain: SimulatedChain, file: Path) -> None:
    """Writes a chain as the example reads it; the file is replaced at once."""
    final = chain.finalized()
    lines: list[dict[str, Any]] = [
        {"chain_id": chain.chain_id, "finalized": None if final is None else final.number}
    ]
    for number in range(chain.head().number + 1):
        header = chain.header(number)
        assert header is not None
        lines.append(
            {
                "number": number,
                "hash": "0x" + header.hash.hex(),
                "parentHash": "0x" + header.parent_hash.hex(),
                "timestamp": header.timestamp,
                "logsBloom": None if header.bloom is None else "0x" + header.bloom.hex(),
                "logs": [
                    {
                        "address": "0x" + log.address.hex(),
                        "topics": ["0x" + topic.hex() for topic in log.topics],
                        "data": "0x" + log.data.hex(),
                        "transactionHash": "0x" + log.tx_hash.hex(),
                        "transactionIndex": log.tx_index,
                        "logIndex": log.log_index,
                    }
                    for log in chain.logs_in(number, number)
                ],
            }
        )
    fresh = file.with_suffix(".new")
    fresh.write_text("".join(json.dumps(line) + "\n" for line in lines))
    fresh.replace(file)


class TestRecording(NodeContract):
    @pytest.fixture(autouse=True)
    def placed(self, recording: ModuleType, tmp_path: Path) -> None:
        self.module, self.folder = recording, tmp_path

    def make(self, chain: SimulatedChain) -> Source:
        self.show(chain)
        about = ChainSettings("main", chain.chain_id, "finalized", self.folder)
        made: Source = self.module.Recording(self.module.Settings("chain.jsonl"), about)
        return made

    def show(self, chain: SimulatedChain) -> None:
        record(chain, self.folder / "chain.jsonl")


def test_a_recording_that_is_not_there_is_waited_for(recording: ModuleType, tmp_path: Path) -> None:
    source = recording.Recording(
        recording.Settings("none.jsonl"), ChainSettings("main", 1, "finalized", tmp_path)
    )
    with pytest.raises(SourceUnavailable, match=r"recording none\.jsonl cannot be read"):
        source.head()


def test_a_recording_that_is_cut_short_is_refused(recording: ModuleType, tmp_path: Path) -> None:
    (tmp_path / "cut.jsonl").write_text('{"chain_id": 1}\n{"number": 0, "ha')
    source = recording.Recording(
        recording.Settings("cut.jsonl"), ChainSettings("main", 1, "finalized", tmp_path)
    )
    with pytest.raises(AnswerRefused, match=r"recording cut\.jsonl cannot be read"):
        source.head()


def configured(folder: Path, settings: str = 'path = "chain.jsonl"', source: str = "recording") -> Path:
    file = folder / "chainfold.toml"
    file.write_text(f"""
        [store]
        url = "sqlite:///store.db"
        [chains.main]
        source = "{source}"
        chain_id = 31337
        [chains.main.settings]
        {settings}
        [contracts.referral]
        chain = "main"
        address = "0x{CONTRACT.hex()}"
        start_block = "auto"
        events = ["{SIGNATURE}"]
        [projections.referrals]
        projector = "referrals"
        contract = "referral"
    """)
    return file


def chainfold(folder: Path, package: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """The command in a process of its own, which finds the package where it was installed."""
    return subprocess.run(
        [sys.executable, "-c", "from projections.service.cli import main; main()", *arguments],
        cwd=folder,
        env={"PYTHONPATH": f"{package}:{Path.cwd()}", "PATH": "", "HOME": str(folder), "COLUMNS": "200"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_a_whole_sync_reads_a_chain_through_it(package: Path, tmp_path: Path) -> None:
    chain, random = SimulatedChain(), Random(7)
    chain.mine(3)
    for _ in range(40):
        chain.mine(logs=registrations(random, 5, users=30))
    chain.finalize(30)
    record(chain, tmp_path / "chain.jsonl")
    configured(tmp_path)
    done = chainfold(tmp_path, package, "sync")
    assert done.returncode == 0, done.stderr
    chain.reorg(2, logs=[registrations(random, 3, users=30), registrations(random, 4, users=30)])
    record(chain, tmp_path / "chain.jsonl")
    done = chainfold(tmp_path, package, "sync")
    assert done.returncode == 0, done.stderr
    store = Store(f"sqlite:///{tmp_path}/store.db")
    found = {item["address"]: item for item in served_documents(store, "referrals")}
    store.close()
    assert bare(found) == expected(chain)
    checked = chainfold(tmp_path, package, "check")
    assert "chain main recording" in checked.stdout + checked.stderr


@pytest.mark.parametrize(
    ("settings", "source", "said"),
    [
        (
            'path = "x"',
            "record",
            "chains.main.source: no installed package adds record to chainfold.sources. ",
        ),
        ("", "recording", "chains.main.settings.path is missing."),
        (
            'paht = "x"',
            "recording",
            "chains.main.settings.paht is not a key of the configuration. Did you mean path?",
        ),
        ("path = 7", "recording", "chains.main.settings.path: expected a string, got an integer."),
        (
            'path = ""',
            "recording",
            "chains.main.source: recording cannot be used: ValueError: path is empty. "
            "Check [chains.main.settings] against the documentation of that source.",
        ),
    ],
)
def test_what_does_not_fit_is_a_fault_of_the_configuration(
    package: Path, tmp_path: Path, settings: str, source: str, said: str
) -> None:
    plan = Plan(load(configured(tmp_path, settings, source)))
    try:
        with pytest.raises(ConfigurationError) as raised:
            plan.source("main")
    finally:
        plan.close()
    assert str(raised.value).startswith(said)
    assert ("Did you mean path?" in str(raised.value)) == ("paht" in settings)


@pytest.mark.parametrize(
    ("adapter", "said"),
    [
        ("KIND = 7", "what the package adds as odd is not a source adapter."),
        (
            "import msgspec\nclass KIND:\n    class Settings(msgspec.Struct): pass\n"
            "    def __init__(self, settings, chain): pass\n    def head(self): pass\n",
            "the source odd has no identity, finalized, headers, logs, name, requests, has_code,",
        ),
    ],
)
def test_an_object_that_is_no_source_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, adapter: str, said: str
) -> None:
    about = tmp_path / "odd-1.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: odd\nVersion: 1\n")
    (about / "entry_points.txt").write_text("[chainfold.sources]\nodd = odd_source:KIND\n")
    (tmp_path / "odd_source.py").write_text(adapter)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "odd_source", raising=False)
    plan = Plan(load(configured(tmp_path, "", "odd")))
    try:
        with pytest.raises(ConfigurationError, match=said):
            plan.source("main")
    finally:
        plan.close()
