"""`[alerts]` and `[schedule]`: what they mean, and what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from projections.service.config.alerts import Limits, Pace
from tests.projections.service.test_config import Folder


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    return Folder(tmp_path)


def test_without_any_word_of_alerts_nobody_is_told_and_the_limits_are_known(folder: Folder) -> None:
    alerts = folder.load().alerts
    assert alerts.urls == ()
    assert alerts.limits == Limits(failing_for=120, head_stalled=900, gap_older_than=600)
    assert alerts.pace == Pace(cooldown=1_800, per_hour=20)
    assert alerts.every == 5


def test_one_address_may_be_written_without_brackets_and_never_leaves_a_kind_out(folder: Folder) -> None:
    alerts = folder.load(alerts={"urls": "json://host/x", "head_stalled": "never", "cooldown": "1m"}).alerts
    assert alerts.urls == ("json://host/x",)
    assert alerts.limits.head_stalled is None
    assert alerts.pace.cooldown == 60


@pytest.mark.parametrize(
    ("table", "said"),
    [
        ({"url": "json://x"}, "alerts.url is not a key"),
        ({"urls": ["t0k3n"]}, "alerts.urls[0] is not an address."),
        ({"urls": ["json://a", "json://a"]}, "alerts.urls[1] is there twice."),
        ({"per_hour": 0}, "alerts.per_hour: 0 is less than one."),
        ({"cooldown": "never"}, "alerts.cooldown: 'never' is not valid: durations"),
        ({"failing_for": "soon"}, "alerts.failing_for: 'soon' is not valid: durations"),
        ({"urls": 5}, "alerts.urls: expected"),
    ],
)
def test_what_is_wrong_is_named(folder: Folder, table: dict[str, object], said: str) -> None:
    refusal = folder.refusal(alerts=table)
    assert refusal.startswith(said)
    assert "t0k3n" not in refusal


def test_every_key_and_password_is_known_as_a_secret(folder: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALERTS", "slack://T0k3nOfSlack/B4ckslack/")
    secrets = folder.load(
        store={"url": "postgresql+psycopg://me:h4nter2@host/chainfold"},
        mongo={"url": "mongodb://me:correct-horse@host/?replicaSet=rs"},
        chains={"main": {"rpc": ["https://node.example/v3/k3y0fth3n0d3"]}},
        alerts={"urls": ["${ALERTS}"]},
    ).secrets
    assert {"h4nter2", "correct-horse", "k3y0fth3n0d3", "T0k3nOfSlack", "B4ckslack"} <= secrets
    assert not secrets & {"chainfold", "mainnet", "v3", "me", "host", "rs"}


def test_a_schedule_is_crons_of_jobs(folder: Folder) -> None:
    jobs = folder.load(schedule={"sync": "*/5 * * * *", "timezone": "Asia/Shanghai"}).schedule.jobs
    assert list(jobs) == ["sync"]
    assert folder.load().schedule.jobs == {}
    kept = folder.load(schedule={"backup": "0 3 * * *", "backup_to": "kept"}).schedule
    assert (list(kept.jobs), kept.backup_to) == (["backup"], folder.path.resolve() / "kept")


@pytest.mark.parametrize(
    ("table", "said"),
    [
        ({"sync": "often"}, "schedule.sync: 'often' has 1 fields."),
        ({"verify": "0 0 30 2 *"}, "schedule.verify: '0 0 30 2 *' never happens."),
        ({"sync": "* * * * *", "timezone": "Mars"}, "schedule.timezone: 'Mars' is not a time zone."),
        ({"backup": "0 3 * * *"}, "schedule.backup_to is missing: there is schedule.backup."),
        ({"backup_to": "kept"}, "schedule.backup is missing: there is schedule.backup_to."),
        ({"synch": "* * * * *"}, "schedule.synch is not a key of the configuration. Did you mean sync?"),
    ],
)
def test_what_is_wrong_with_a_schedule_is_named(folder: Folder, table: dict[str, object], said: str) -> None:
    assert folder.refusal(schedule=table).startswith(said)
