"""Webhooks in the configuration: what they mean, and that every complaint names its path."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from projections.errors import ConfigurationError
from projections.service.config.loader import load
from projections.service.runtime.wiring import Plan
from projections.webhooks.rule import Reached
from tests.projections.service.test_config import SAMPLE, merged, toml

SECRET = "correct-horse-battery"
HOOK = {
    "name": "ten",
    "when": "level1Count reached 10",
    "url": "https://shop.example/t0k3n12345",
    "secret": SECRET,
}


def write(folder: Path, hooks: list[dict[str, Any]], **projection: Any) -> Path:
    chosen = {"follow": "finalized", "webhook": hooks} | projection
    tables = merged(SAMPLE, {"projections": {"p": chosen}})
    assert isinstance(tables, dict)
    tables["contracts"]["r"]["events"] = ["ReferralRegistered(address user, address referrer)"]
    path = folder / "chainfold.toml"
    path.write_text("\n".join(f"{key} = {toml(item)}" for key, item in tables.items()))
    return path


def test_a_webhook_is_a_rule_and_a_target(tmp_path: Path) -> None:
    config = load(write(tmp_path, [HOOK]))
    [made] = config.projections["p"].webhooks
    assert (made.rule.name, made.rule.condition) == ("ten", Reached("level1Count", 10))
    assert (made.target.url, made.target.timeout, made.target.attempts) == (HOOK["url"], 10.0, 30)
    assert made.backfill is False
    assert {SECRET, "t0k3n12345"} <= config.secrets


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (
            {"when": "level1Count > 10"},
            "projections.p.webhook[0].when: 'level1Count > 10' is not a condition.",
        ),
        ({"url": "ftp://x"}, "projections.p.webhook[0].url is not an address"),
        ({"url": "https://"}, "projections.p.webhook[0].url is not an address"),
        ({"url": "https://h:x/"}, "projections.p.webhook[0].url is not an address"),
        ({"secret": "short"}, "projections.p.webhook[0].secret has fewer than 16"),
        ({"name": "No Name"}, "projections.p.webhook[0].name: 'No Name' is not a name"),
        ({"attempts": 0}, "projections.p.webhook[0].attempts: 0 is less than one"),
        ({"timeout": "soon"}, "projections.p.webhook[0].timeout: 'soon' is not valid: durations"),
        (
            {"whem": "x"},
            "projections.p.webhook[0].whem is not a key of the configuration. Did you mean when?",
        ),
    ],
)
def test_a_wrong_webhook_is_refused_by_its_path(tmp_path: Path, change: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        load(write(tmp_path, [HOOK | change]))
    assert said in str(caught.value)
    assert SECRET not in str(caught.value)


def test_a_name_is_there_once(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=re.escape("webhook[1].name: ten is there twice")):
        load(write(tmp_path, [HOOK, HOOK]))


def test_only_a_finalised_projection_has_webhooks(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=re.escape("needs projections.p.follow to be finalized")):
        load(write(tmp_path, [HOOK], follow="latest"))


def test_a_field_that_the_documents_do_not_have_is_refused(tmp_path: Path) -> None:
    config = load(write(tmp_path, [HOOK | {"when": "level3Count reached 10"}]))
    with pytest.raises(ConfigurationError, match=re.escape("p.webhook[0].when: User has no field level3")):
        Plan(config)


def test_the_configuration_of_the_page_loads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    [block] = re.findall(r"```toml\n(.*?)```", Path("docs/webhooks.md").read_text(), re.DOTALL)
    monkeypatch.setenv("BONUS_URL", "https://shop.example/bonus")
    monkeypatch.setenv("BONUS_SECRET", SECRET)
    rest = {key: SAMPLE[key] for key in ("chains", "contracts")}
    rest["contracts"] = {"referral": rest["contracts"]["r"]}
    whole = "\n".join(f"{key} = {toml(item)}" for key, item in rest.items()) + "\n" + block
    (tmp_path / "chainfold.toml").write_text(whole.replace("# backfill", "backfill"))
    [made] = load(tmp_path / "chainfold.toml").projections["referrals"].webhooks
    assert made.backfill is True
