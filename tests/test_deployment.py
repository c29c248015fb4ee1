"""The files for deployment: what they name is there, and the configuration that they mount loads."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

from projections.service.config.loader import load
from projections.service.runtime.wiring import Plan

COMPOSE: dict[str, Any] = yaml.safe_load(Path("deploy/compose.yml").read_text())
ROLES = {"ingest", "project", "publish", "prove", "serve"}
DOCKERFILE = Path("deploy/Dockerfile").read_text()


def test_the_image_copies_what_is_there_and_installs_extras_that_exist() -> None:
    for line in re.findall(r"^COPY (?!--from)(.+) \S+$", DOCKERFILE, re.MULTILINE):
        for source in line.split():
            assert Path(source).exists(), source
    [extras] = re.findall(r'"\.\[([\w,]+)\]"', DOCKERFILE)
    known = tomllib.loads(Path("pyproject.toml").read_text())["project"]["optional-dependencies"]
    assert set(extras.split(",")) <= set(known)


def test_the_image_has_every_package() -> None:
    settings = tomllib.loads(Path("pyproject.toml").read_text())
    for package in settings["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]:
        assert f"\nCOPY {package} {package}\n" in DOCKERFILE


def test_the_image_has_two_stages_and_runs_as_nobody_special() -> None:
    last = DOCKERFILE.rpartition("\nFROM ")[2]
    assert DOCKERFILE.count("FROM python:") == 2
    assert re.search(r"^USER [1-9]\d+$", last, re.MULTILINE)
    assert last.index("USER") < last.index("ENTRYPOINT")


@pytest.fixture
def variables(monkeypatch: pytest.MonkeyPatch) -> None:
    """The environment as compose gives it to chainfold, its own variables filled in."""
    monkeypatch.setenv("CHAINFOLD_RPC", "http://127.0.0.1:8545")
    monkeypatch.setenv("CHAINFOLD_CONTRACT", "0x" + "51" * 20)
    for name, value in COMPOSE["x-chainfold"]["environment"].items():
        if "${CHAINFOLD" not in value:
            monkeypatch.setenv(name, re.sub(r"\$\{\w+:-(\w+)\}", r"\1", value))


@pytest.mark.usefixtures("variables")
def test_the_configuration_for_production_is_one() -> None:
    config = load(Path("deploy/chainfold.production.toml"))
    assert config.store.url.startswith("postgresql+psycopg://chainfold:chainfold@postgres/")
    plan = Plan(config)
    assert [stage.name for stage in plan.fold()] == ["project referrals"]
    plan.close()


def test_compose_runs_every_role_and_mounts_what_is_there() -> None:
    services = COMPOSE["services"]
    run: set[str] = set()
    for service in services.values():
        command = service.get("command", [])
        if command[:2] == ["run", "--only"]:
            run |= set(command[2].split(","))
        for needed in service.get("depends_on", {}):
            assert needed in services
    assert run == ROLES
    [volume] = COMPOSE["x-chainfold"]["volumes"]
    assert (Path("deploy") / volume.split(":")[0]).exists()
    mounted = [volume.split(":")[0] for service in services.values() for volume in service.get("volumes", [])]
    named = {volume for volume in mounted if not volume.startswith(".")}
    assert all((Path("deploy") / volume).exists() for volume in mounted if volume.startswith("."))
    assert named == set(COMPOSE["volumes"])
    hosts = re.findall(r"(?:@|//)(postgres|mongo|redis)\b", str(COMPOSE["x-chainfold"]["environment"]))
    assert set(hosts) == {"postgres", "mongo", "redis"} <= set(services)


def test_the_unit_names_roles_that_exist_and_is_hardened() -> None:
    unit = Path("deploy/systemd/chainfold@.service").read_text()
    assert "ExecStart=/opt/chainfold/bin/chainfold run --only %i" in unit
    assert set(re.findall(r"chainfold@(\w+)", unit)) == ROLES
    for line in ("DynamicUser=yes", "NoNewPrivileges=yes", "ProtectSystem=strict", "CapabilityBoundingSet="):
        assert line in unit.splitlines()


def test_the_proxy_of_the_docs_hides_what_is_for_those_inside() -> None:
    """Every path that tells of the service itself, and none that tells of documents."""
    page = Path("docs/deployment.md").read_text()
    [hidden] = re.findall(r"location ~ (\S+) \{ return 404; \}", page)
    inside = {"/metrics", "/status", "/v1/status", "/readyz", "/healthz"}
    outside = {"/", "/v1/projections", "/v1/stream", "/v1/events", "/v1/retry", "/v1/referrals/0x01"}
    assert {path for path in inside | outside if re.search(hidden, path)} == inside
    [table] = re.findall(r"```toml\n(\[http\]\n.*?)```", page, re.DOTALL)
    [name] = re.findall(r"server_name (\S+);", page)
    assert tomllib.loads(table)["http"]["hosts"] == [name]
