"""docs/deployment.md on one machine: its commands as they stand there, on real stores and a real node."""

from __future__ import annotations

import re
import shlex
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest
from playwright.sync_api import Locator, expect

from projections.service.demo.contract import DevelopmentNode, ReferralContract
from projections.service.embedded.servers import free_port
from tests.browser import visit
from tests.end_to_end.shop import until
from tests.end_to_end.site import Command, Site, Workshop, in_mongo
from tests.servers.anvil import Anvil
from tests.servers.mongo import Mongo

PAGE = Path("docs/deployment.md").read_text()
CHAPTER = PAGE.partition("\n## On one machine, by plain processes\n")[2].partition("\n## ")[0]
LINES = [line for block in re.findall(r"```sh\n(.*?)```", CHAPTER, re.DOTALL) for line in block.splitlines()]
WORK = "publish:referrals.mongo"


class Reader:
    """A new user with the page in hand; the ports of the page are free ones here."""

    def __init__(self, site: Site, tab: visit.Visit) -> None:
        self._site = site
        self._tab = tab
        self.ports: dict[str, str] = {}
        self.environment: dict[str, str] = {}
        self.roles: list[Command] = []
        self.seen: list[dict[str, Any]] = []
        self.told: dict[str, str] = {}
        """What was answered last, by path."""

    def do(self, line: str) -> None:
        """One line of the page."""
        match shlex.split(re.sub(r"(?<=127\.0\.0\.1:)\d+", self._port, line)):
            case ["chainfold", *arguments, "&"]:
                self.roles.append(self._site.start(*arguments, environment=self.environment))
            case ["chainfold", "status"]:
                other = self.seen[-1]["pid"] if self.seen else None
                self.seen.append(until(self.worker, lambda found: found.get("pid") not in (None, other)))
            case ["chainfold", *arguments]:
                done = self._site.run(*arguments, environment=self.environment)
                assert done.code == 0, done
            case ["curl", "-s", url]:
                answer = until(lambda: asked(url), lambda answer: answer is not None and answer.is_success)
                assert answer is not None
                self.told[httpx.URL(url).path] = answer.text
            case ["kill", "-9", "PID"]:
                self._tab.base = f"http://127.0.0.1:{self.ports['8080']}"
                self._tab.open()
                expect(self.row).to_contain_text(f"pid {self.seen[-1]['pid']}")
                [role] = [role for role in self.roles if role.pid == self.seen[-1]["pid"]]
                role.kill()
            case _:
                raise AssertionError(f"the page has a line that cannot be followed: {line}")

    def _port(self, found: re.Match[str]) -> str:
        return self.ports.setdefault(found.group(), str(free_port()))

    @property
    def row(self) -> Locator:
        """The row of that work on the page."""
        return self._tab.page.get_by_role("row", name=f"publishes {WORK.partition(':')[2]}")

    def worker(self) -> dict[str, Any]:
        """The process in the line of the publisher of MongoDB; nothing while it has none."""
        done = self._site.run("status", "--json", environment=self.environment)
        assert done.code == 0, done.err
        found: dict[str, Any] = done.json()["holders"].get(WORK, {})
        return found

    def stop(self) -> None:
        for role in self.roles:
            role.signal(signal.SIGTERM)
        for role in self.roles:
            role.end()


def asked(url: str) -> httpx.Response | None:
    """The answer, None without a listener."""
    try:
        return httpx.get(url, timeout=10)
    except httpx.TransportError:
        return None


@pytest.fixture
def stores(mongo: Mongo, redis_url: str, postgres_url: str) -> dict[str, str]:
    """Where everything is, by the variables of the page."""
    return {"CHAINFOLD_STORE": postgres_url, "CHAINFOLD_MONGO": mongo.url, "CHAINFOLD_REDIS": redis_url}


@pytest.fixture
def site(workshop: Workshop, tmp_path: Path, mongo: Mongo) -> Site:
    """A folder with the configuration of the page."""
    made = Site(workshop, tmp_path / "site", rpc="")
    production = Path("deploy/chainfold.production.toml").read_text()
    production = production.replace('database = "chainfold"', f'database = "{mongo.database}"')
    (made.folder / "chainfold.toml").write_text(production)
    return made


@pytest.fixture
def tab() -> Iterator[visit.Visit]:
    """A tab of a browser, in which the page of the serve role is opened."""
    with visit.browser() as browser:
        yield visit.Visit(browser, "")


@pytest.mark.timeout(120)
def test_a_new_user_has_all_roles_apart_and_sees_a_takeover(
    anvil: Anvil, mongo: Mongo, stores: dict[str, str], site: Site, tab: visit.Visit
) -> None:
    node = DevelopmentNode(anvil.url)
    contract = ReferralContract.deploy(node)
    pairs = [(f"0x{user:040x}", f"0x{user // 3 + 1:040x}") for user in range(100, 140)]
    contract.register_many(pairs)
    node.mine(10)
    reader = Reader(site, tab)
    values = stores | {"CHAINFOLD_RPC": anvil.url, "CHAINFOLD_CONTRACT": contract.address}
    exported = re.findall(r"^export (CHAINFOLD_\w+)=", "\n".join(LINES), re.MULTILINE)
    reader.environment = {name: values.pop(name) for name in exported}
    assert not values, "the page does not name all that the configuration wants"
    try:
        for line in LINES:
            if not line.startswith(("python3 -m venv", ".venv/bin/pip", "export ", "cp ")):
                reader.do(line)
        assert len(reader.roles) == 5
        before, after = reader.seen
        assert before["pid"] != after["pid"]
        assert after["pid"] in [role.pid for role in reader.roles]
        served = msgspec.json.decode(reader.told["/v1/status"])["holders"][WORK]
        assert (served["pid"], served["epoch"]) == (after["pid"], before["epoch"] + 1)
        expect(reader.row).to_contain_text(f"pid {after['pid']}")  # the page goes on by itself
        expect(reader.row).to_contain_text("taken over")
        tab.end()  # before its server is stopped
        [projection] = msgspec.json.decode(reader.told["/v1/projections"])
        assert (projection["name"], projection["state"]) == ("referrals", "live")
        assert 'chainfold_steps_total{stage="ingest main"}' in reader.told["/metrics"]
        contract.register("0x" + "77" * 20, "0x" + "78" * 20)  # and it does the work
        node.mine(1)
        until(lambda: in_mongo(mongo.url, mongo.database), lambda found: "0x" + "77" * 20 in found)
        served_by = f"http://127.0.0.1:{reader.ports['8080']}"
        answer = until(
            lambda: asked(f"{served_by}/v1/referrals/0x{'77' * 20}"),
            lambda answer: answer is not None and answer.is_success,
        )
        assert answer is not None and answer.json()["directReferrer"] == "0x" + "78" * 20
        metrics = asked(f"{served_by}/metrics")
        assert metrics is not None
        assert 'route="/v1/referrals/{key:str}",status="200"' in metrics.text
        assert re.search(
            rf'chainfold_lease_holder_info{{.*pid="{after["pid"]}",work="{WORK}"}} 1', metrics.text
        )
    finally:
        reader.stop()
        node.close()
