"""Every record that a stage returns is counted, and a stage says what it waits for."""

from __future__ import annotations

from pathlib import Path
from typing import get_args

import pytest
from prometheus_client.parser import text_string_to_metric_families

from eventstore.errors import (
    ChainfoldError,
    Fenced,
    LeaseHeld,
    SchemaOutdated,
    SourceUnavailable,
    StoreUnavailable,
    WrongChain,
)
from eventstore.ingest.branch import Ingested
from eventstore.journal.proofs import Disproof
from eventstore.proof.prover import Proved
from eventstore.records import BlockRange
from projections.errors import ForeignMarker, ProjectorError, SinkUnavailable
from projections.fold.generation import Promoted
from projections.fold.runner import Folded
from projections.publish.publisher import Published
from projections.service.config.loader import load
from projections.service.runtime.loops import Failed, Record, Stepped
from projections.service.runtime.wiring import Plan
from projections.service.status import collector
from projections.service.status.lease_holders import Holder, works
from projections.service.status.metrics import WAITS, Meters
from projections.service.status.records import (
    BuildStatus,
    ChainStatus,
    FailedStatus,
    IncidentStatus,
    JobStatus,
    ProjectionStatus,
    SinkStatus,
    Status,
    UndeliveredStatus,
    UnhandledStatus,
)
from projections.webhooks.courier import Delivered

BLOCKS = BlockRange(11, 20)
DISPROOF = Disproof(13, b"\1" * 32, "wrong", "log 2 is missing", 0)

RECORDS: dict[Record, dict[str, float]] = {
    Ingested(
        20, 12, fetched=BLOCKS, refused=BLOCKS, failed=BLOCKS, appended=5, orphaned=4, rewound_to=9, depth=3
    ): {
        'logs_appended_total{stage="s"}': 5,
        'logs_orphaned_total{stage="s"}': 4,
        'blocks_fetched_total{stage="s"}': 10,
        'ranges_refused_total{stage="s"}': 1,
        'ranges_failed_total{stage="s"}': 1,
        'reorgs_total{finality="above",stage="s"}': 1,
        'reorgs_total{finality="below",stage="s"}': 0,
        'reorg_depth_blocks_sum{stage="s"}': 3,
        'stage_waiting{for="nothing",stage="s"}': 1,
    },
    Ingested(20, 12): {'stage_waiting{for="source",stage="s"}': 1},
    Ingested(20, 12, rewound_to=9, depth=14, below_finality=True): {
        'reorgs_total{finality="below",stage="s"}': 1,
        'reorg_depth_blocks_bucket{le="13.0",stage="s"}': 0,
        'reorg_depth_blocks_bucket{le="21.0",stage="s"}': 1,
    },
    Proved("c", blocks=BLOCKS, proven=9, by_receipts=2, failed=(DISPROOF,), left=70): {
        'blocks_proven_total{stage="s"}': 9,
        'blocks_proven_by_receipts_total{stage="s"}': 2,
        'blocks_disproved_total{kind="wrong",stage="s"}': 1,
        'blocks_to_prove{stage="s"}': 70,
        'stage_waiting{for="nothing",stage="s"}': 1,
    },
    Proved("c"): {'stage_waiting{for="journal",stage="s"}': 1},
    Proved("c", reason="no endpoint has the receipts"): {'stage_waiting{for="source",stage="s"}': 1},
    Folded(
        "p",
        "live",
        events=8,
        changed=6,
        left=2,
        moved=True,
        rewound_to=3,
        quarantined=1,
        promoted=Promoted(2, 1, 30, 4),
    ): {
        'events_folded_total{projection="p"}': 8,
        'documents_changed_total{projection="p"}': 6,
        'events_left{projection="p"}': 2,
        'rewinds_total{projection="p"}': 1,
        'events_quarantined_total{projection="p"}': 1,
        'promotions_total{projection="p"}': 1,
        'stage_waiting{for="nothing",stage="s"}': 1,
    },
    Folded("p", "live"): {'stage_waiting{for="journal",stage="s"}': 1},
    Folded("p", "ready"): {'stage_waiting{for="operator",stage="s"}': 1},
    Folded("p", "live", error="it raised"): {'stage_waiting{for="operator",stage="s"}': 1},
    Published("p", "mongo", sent=7, written=5): {
        'documents_sent_total{projection="p",sink="mongo"}': 7,
        'documents_written_total{projection="p",sink="mongo"}': 5,
        'stage_waiting{for="nothing",stage="s"}': 1,
    },
    Published("p", "mongo"): {'stage_waiting{for="fold",stage="s"}': 1},
    Delivered("p", "rule", delivered=3, failed=2, dead=1): {
        'notifications_delivered_total{projection="p",webhook="rule"}': 3,
        'notifications_failed_total{projection="p",webhook="rule"}': 2,
        'notifications_dead_total{projection="p",webhook="rule"}': 1,
        'stage_waiting{for="sink",stage="s"}': 1,
    },
    Delivered("p", "rule"): {'stage_waiting{for="fold",stage="s"}': 1},
}

ERRORS: dict[ChainfoldError, str] = {
    SourceUnavailable("x"): "source",
    WrongChain("x"): "operator",
    StoreUnavailable("x"): "store",
    SchemaOutdated("x"): "operator",
    LeaseHeld("x"): "lease",
    Fenced("x"): "lease",
    SinkUnavailable("x"): "sink",
    ForeignMarker("x"): "operator",
    ProjectorError("x"): "operator",
}


def samples(meters: Meters) -> dict[str, float]:
    """What Prometheus would read, by name and labels without our prefix."""
    found = {}
    for family in text_string_to_metric_families(meters.text().decode()):
        for item in family.samples:
            labels = ",".join(f'{key}="{value}"' for key, value in sorted(item.labels.items()))
            found[item.name.removeprefix("chainfold_") + (f"{{{labels}}}" if labels else "")] = item.value
    return found


def test_a_record_of_every_stage_is_here() -> None:
    assert {type(record) for record in RECORDS} == set(get_args(Record))


@pytest.mark.parametrize("record", RECORDS, ids=repr)
def test_a_record_is_counted(record: Record) -> None:
    meters = Meters("0")
    meters.observe(Stepped("s", record))
    found = samples(meters)
    assert {name: found.get(name) for name in RECORDS[record]} == RECORDS[record]
    assert sum(found[f'stage_waiting{{for="{reason}",stage="s"}}'] for reason in WAITS) == 1
    assert found['steps_total{stage="s"}'] == 1
    assert found['stage_last_step_timestamp_seconds{stage="s"}'] > 0


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
def test_an_error_is_counted_by_its_class_and_names_what_is_waited_for(error: ChainfoldError) -> None:
    meters = Meters("0")
    meters.observe(Failed("s", error, 1.0))
    found = samples(meters)
    assert found[f'stage_errors_total{{error="{type(error).__name__}",stage="s"}}'] == 1
    assert found[f'stage_waiting{{for="{ERRORS[error]}",stage="s"}}'] == 1


def test_who_was_refused_waits_for_the_receiver_until_it_takes_one() -> None:
    meters = Meters("0")
    for record, wanted in (
        (Delivered("p", "rule", failed=1), "sink"),
        (Delivered("p", "rule"), "sink"),
        (Delivered("p", "rule", delivered=1), "nothing"),
        (Delivered("p", "rule"), "fold"),
    ):
        meters.observe(Stepped("deliver p.rule", record))
        assert samples(meters)[f'stage_waiting{{for="{wanted}",stage="deliver p.rule"}}'] == 1


STATUS = Status(
    {
        "main": ChainStatus(
            head=120, finalized=110, covered_to=118, proven_to=90, proven_from=0, entries=7, logs=40,
            reorgs=2, last_reorg=1_700_000_000, last_sync_at=1_700_000_100.5, error=None,
            gaps=[FailedStatus(5, 9, 3, 0.0, 0.0, "pruned")],
            calls={"eth_getLogs": 12},
            unhandled=[UnhandledStatus("c", "0x1", None)],
        )
    },
    {
        "p": ProjectionStatus(
            "live", 117, 7, 31, 3, 36.0, 25, "ab", 1, None,
            build=BuildStatus(2, "building", 9, 117, 4, 8, 50.0, None),
        )
    },
    {"p.mongo": SinkStatus(30, 1, "behind", None), "p.redis": SinkStatus(0, None, "down", "it is away")},
    [IncidentStatus(1, "sink-down", "p.redis", "t", 0.0, True, "d", "todo")],
    [UndeliveredStatus("alerts.urls[0] (json)", 0.0, 1, "refused")],
    {"sync": JobStatus(5.0, 4.0, "failed")},
    {"ingest:1": Holder("here", 77, 3)},
)  # fmt: skip

STANDS = {
    "store_up": 1,
    'chain_head_block{chain="main"}': 120,
    'chain_lag_blocks{chain="main"}': 2,
    'chain_proven_block{chain="main"}': 90,
    'chain_reorgs_total{chain="main"}': 2,
    'chain_last_reorg_timestamp_seconds{chain="main"}': 1_700_000_000,
    'chain_last_sync_timestamp_seconds{chain="main"}': 1_700_000_100.5,
    'chain_error{chain="main"}': 0,
    'gaps{chain="main"}': 1,
    'gap_blocks{chain="main"}': 5,
    'node_calls_total{chain="main",method="eth_getLogs"}': 12,
    'unhandled_kinds{chain="main"}': 1,
    'projection_lag_blocks{projection="p"}': 3,
    'projection_lag_seconds{projection="p"}': 36,
    'projection_state{projection="p",state="live"}': 1,
    'build_events_done{projection="p"}': 4,
    'build_events_all{projection="p"}': 8,
    'sink_lag_revisions{projection="p",sink="mongo"}': 1,
    'sink_error{projection="p",sink="redis"}': 1,
    'sink_state{projection="p",sink="redis",state="down"}': 1,
    'lease_held{work="ingest:1"}': 1,
    'lease_held{work="prove:1"}': 0,
    'lease_holder_info{host="here",pid="77",work="ingest:1"}': 1,
    'lease_taken_total{work="ingest:1"}': 3,
    'incidents{kind="sink-down"}': 1,
    'incidents{kind="gap-old"}': 0,
    "alert_addresses_failing": 1,
    'job_next_timestamp_seconds{command="sync"}': 5,
    'job_last_timestamp_seconds{command="sync"}': 4,
    'job_failed{command="sync"}': 1,
}


def test_what_status_shows_stands_among_the_metrics() -> None:
    meters = Meters("0")
    meters.add(collector.StoreCollector(lambda: STATUS, ["prove:1"]))
    found = samples(meters)
    assert {name: found.get(name) for name in STANDS} == STANDS
    assert {name for name in found if name.startswith("sink_lag")} == {
        'sink_lag_revisions{projection="p",sink="mongo"}'
    }
    named = {name.partition("{")[0].removesuffix("_total") for name in found}
    assert set(collector.GAUGES) | set(collector.COUNTERS) <= named


def test_a_store_that_is_away_is_told_and_nothing_else_is() -> None:
    meters = Meters("0")
    meters.add(collector.StoreCollector(lambda: None, ["prove:1"]))
    found = samples(meters)
    assert found["store_up"] == 0
    assert not any(name.startswith(("chain_", "lease_")) for name in found)


CONFIG = """
[chains.main]
rpc = ["http://127.0.0.1:1"]
chain_id = 31337
prove = true
[contracts.referral]
chain = "main"
address = "0x5fbdb2315678afecb367f032d93f642f64180aa3"
events = ["ReferralRegistered(address indexed user, address indexed referrer, uint256 timestamp)"]
[projections.referrals]
projector = "referrals"
contract = "referral"
follow = "finalized"
mongo = { collection = "users" }
redis = { key = "user:{address}" }
[[projections.referrals.webhook]]
name = "tenth"
url = "https://example.com/hook"
secret = "0123456789abcdef0123456789abcdef"
when = "level1Count reached 10"
"""


def test_the_leases_that_somebody_should_hold_are_those_of_the_stages(tmp_path: Path) -> None:
    path = tmp_path / "chainfold.toml"
    path.write_text('[mongo]\nurl = "mongodb://127.0.0.1:1"\n[redis]\nurl = "redis://127.0.0.1:1"\n' + CONFIG)
    plan = Plan(load(path))
    stages = [
        *plan.ingest(), *plan.prove(background=True), *plan.fold(), *plan.publish(), *plan.notify(),
        *plan.deliver(),
    ]  # fmt: skip
    assert sorted(works(plan)) == sorted(stage.lease.name for stage in stages)
    for stage in stages:
        stage.close() if stage.name.startswith("publish") else None
    plan.close()
    path.write_text(path.read_text() + '[schedule]\nsync = "*/5 * * * *"\n')
    plan = Plan(load(path))
    assert works(plan) == ["prove:31337"]
    plan.close()
