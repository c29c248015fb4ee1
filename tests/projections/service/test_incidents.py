"""When an incident opens and when it is over, and which alerts are due: the pure parts."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Struct
from msgspec.structs import replace

from eventstore.errors import Fenced, LeaseHeld, SourceUnavailable, StoreUnavailable, WrongChain
from eventstore.ingest.branch import Ingested
from eventstore.records import BlockRange
from projections.errors import ForeignMarker, SinkUnavailable
from projections.fold.runner import Folded
from projections.publish.publisher import Published
from projections.service.alerts.detection import Bad, Board, Good, incident_changes, worst
from projections.service.alerts.throttle import HOUR, due
from projections.service.config.alerts import Limits, Pace
from projections.service.records.incidents import Incident, Key
from projections.service.runtime.loops import Failed, Stepped
from projections.webhooks.courier import Delivered

LIMITS = Limits(failing_for=60, head_stalled=300, gap_older_than=600)
AWAY = Failed("ingest main", SourceUnavailable("The node is away."), 1.0)
SOURCE = Key("source-failing", "main")
HEAD = Key("head-stalled", "main")
BEHIND = Key("head-behind", "main")
SINK = Key("sink-down", "users.mongo")


def seen(head: int) -> Stepped:
    return Stepped("ingest main", Ingested(head, head))


def board(*events: tuple[float, Stepped | Failed]) -> Board:
    made = Board(LIMITS)
    for now, event in events:
        made.observe(event, now)
    return made


# --- one stage ---


def test_a_source_that_fails_for_a_moment_is_no_incident() -> None:
    assert SOURCE not in board((0, AWAY), (59, AWAY)).standing()


def test_a_source_that_fails_for_long_is_one_until_a_step_ends_well() -> None:
    made = board((0, AWAY), (30, AWAY), (60, AWAY))
    assert made.standing()[SOURCE] == Bad("The node is away.")
    made.observe(seen(5), 61)
    assert made.standing()[SOURCE] == Good()


def test_a_source_of_another_chain_is_one_at_once() -> None:
    made = board((0, Failed("ingest main", WrongChain("It serves chain 5."), 1.0)))
    assert made.standing()[SOURCE] == Bad("It serves chain 5.")


def test_who_stands_by_knows_nothing_and_ends_nothing() -> None:
    """Else a process that lost its stage would say for ever what it saw last."""
    for error in (LeaseHeld("Another holds it."), Fenced("It was lost.")):
        assert board((0, AWAY), (60, Failed("ingest main", error, 1.0))).standing() == {}
        assert board((0, seen(1)), (60, Failed("ingest main", error, 1.0))).standing() == {}


def test_a_store_that_is_away_says_nothing_of_the_node() -> None:
    gone = Failed("ingest main", StoreUnavailable("No room."), 1.0)
    assert board((0, gone), (99, gone)).standing() == {}


def test_a_head_that_does_not_move_is_one_until_it_does() -> None:
    made = board((0, seen(5)), (299, seen(5)))
    assert HEAD not in made.standing()
    made.observe(seen(5), 300)
    assert isinstance(made.standing()[HEAD], Bad)
    made.observe(seen(6), 301)
    assert made.standing()[HEAD] == Good()


def test_after_a_restart_only_a_head_that_rose_is_one_that_moves() -> None:
    assert HEAD not in board((0, seen(5)), (10, seen(5))).standing()


def test_between_two_runs_of_a_schedule_nobody_looked_and_nothing_goes_wrong() -> None:
    """One that syncs every half hour: the head stands still meanwhile only as far as anybody knows."""
    assert board((0, seen(5)), (1_800, seen(6)), (3_600, seen(7))).standing()[HEAD] == Good()
    assert SOURCE not in board((0, AWAY)).standing()
    assert isinstance(board((0, seen(5)), (1_800, seen(5))).standing()[HEAD], Bad)


def test_a_head_on_a_branch_that_was_left_is_no_height_to_rise_above() -> None:
    """The chain is shorter now, and moves."""
    back = Stepped("ingest main", Ingested(3, 2, rewound_to=2, depth=7, below_finality=True))
    made = board((0, seen(9)), (10, back), (300, seen(4)), (600, seen(5)), (610, seen(6)))
    assert made.standing()[HEAD] == Good()


def late(head: int, known: int, *, final: int) -> Stepped:
    return Stepped("ingest main", Ingested(head, final, behind=known))


def test_a_head_below_ours_is_one_at_once_below_finality_and_else_where_it_lasts() -> None:
    assert BEHIND not in board((0, seen(9)), (1, late(7, 9, final=5)), (50, late(8, 9, final=5))).standing()
    assert BEHIND not in board((0, late(7, 9, final=5)), (50, seen(9)), (70, late(7, 9, final=5))).standing()
    for made in (board((0, late(4, 9, final=5))), board((0, late(4, 9, final=4)), (60, late(4, 9, final=4)))):
        said = made.standing()[BEHIND]
        assert isinstance(said, Bad)
        assert "is 4, below block 9" in said.detail


@pytest.mark.parametrize("end", [seen(9), Stepped("ingest main", Ingested(4, 5, rewound_to=4))])
def test_it_is_over_when_our_block_is_shown_again_or_the_journal_went_back(end: Stepped) -> None:
    made = board((0, late(4, 9, final=5)))
    made.observe(Stepped("ingest main", Ingested(4, 5, fetched=BlockRange(1, 2))), 1)
    assert isinstance(made.standing()[BEHIND], Bad), "a step in the middle of work does not tell"
    made.observe(end, 2)
    assert made.standing()[BEHIND] == Good()


def test_a_step_that_does_not_end_is_one_until_a_step_of_that_stage_does() -> None:
    """No stand-by knows that it ended, and nothing else that happens says so."""
    key = Key("step-stuck", "publish users.mongo")
    made = Board(Limits(step_longer_than=60))
    made.at_work("publish users.mongo", 10.0, 69.0)
    assert key not in made.standing()
    made.at_work("publish users.mongo", 10.0, 70.0)
    assert isinstance(made.standing()[key], Bad)
    made.observe(Failed("publish users.mongo", LeaseHeld("Another holds it."), 1.0), 71.0)
    made.at_work("publish users.mongo", None, 71.0)
    assert key not in made.standing()
    made.observe(Failed("publish users.mongo", SinkUnavailable("It is away."), 1.0), 72.0)
    assert made.standing()[key] == Good()


def test_a_source_that_fails_is_not_a_head_that_stands_as_well() -> None:
    assert HEAD not in board((0, seen(5)), (1, AWAY)).standing()


def test_a_reorg_below_finality_is_told_until_it_is_written_down() -> None:
    made = board((0, Stepped("ingest main", Ingested(9, 8, rewound_to=3, depth=6, below_finality=True))))
    key = Key("reorg-below-finality", "main")
    assert "6 blocks" in made.reorgs()[key]
    made.written(key)
    assert made.reorgs() == {}


def test_a_halt_is_one_at_once_and_over_when_it_goes_on() -> None:
    key = Key("projection-halted", "users")
    made = board((0, Stepped("project users", Folded("users", "live", error="Block 7 is poison."))))
    assert made.standing()[key] == Bad("Block 7 is poison.")
    made.observe(Stepped("project users", Folded("users", "live", block=8, moved=True)), 1)
    assert made.standing()[key] == Good()


def test_a_foreign_sink_is_one_at_once_and_one_that_is_down_after_a_while() -> None:
    down = Failed("publish users.mongo", SinkUnavailable("No answer."), 1.0)
    foreign = Failed("publish users.mongo", ForeignMarker("Another store's."), 1.0)
    assert board((0, down), (59, down)).standing() == {}
    assert board((0, down), (60, down)).standing() == {SINK: Bad("No answer.")}
    assert board((0, foreign)).standing() == {Key("sink-foreign", "users.mongo"): Bad("Another store's.")}
    well = Stepped("publish users.mongo", Published("users", "mongo"))
    assert board((0, down), (60, well)).standing()[SINK] == Good()


def test_a_webhook_that_refuses_for_long_is_one_until_it_takes_something() -> None:
    key = Key("webhook-failing", "users.joined")
    refused = Stepped("deliver users.joined", Delivered("users", "joined", failed=3, reason="It said 500."))
    nothing = Stepped("deliver users.joined", Delivered("users", "joined"))
    made = board((0, refused), (30, nothing), (60, refused), (61, nothing))
    assert made.standing() == {key: Bad("It said 500.")}
    made.observe(Stepped("deliver users.joined", Delivered("users", "joined", delivered=1, failed=1)), 62)
    assert made.standing() == {key: Good()}


def test_where_one_sees_it_wrong_and_another_right_it_is_wrong() -> None:
    assert worst({SINK: Bad("x")}, {SINK: Good()}) == {SINK: Bad("x")}
    assert worst({SINK: Good()}, {SINK: Bad("x")}) == {SINK: Bad("x")}


EVENTS = st.sampled_from(
    [AWAY, seen(1), seen(2), Failed("ingest main", LeaseHeld("Another."), 1.0)],
)


@given(st.lists(st.tuples(st.floats(0, 50), EVENTS), max_size=60))
def test_whatever_happens_only_evidence_opens_and_ends_an_incident(
    steps: list[tuple[float, Stepped | Failed]],
) -> None:
    made, now, is_open, failing_since = Board(LIMITS), 0.0, False, None
    for pause, event in steps:
        now += pause
        made.observe(event, now)
        failing_since = (now if failing_since is None else failing_since) if event is AWAY else None
        found = incident_changes([SOURCE] if is_open else [], made.standing())
        if SOURCE in found.opened:
            assert not is_open
            assert failing_since is not None
            assert now - failing_since >= 60
            is_open = True
        elif SOURCE in found.closed:
            assert is_open
            assert isinstance(event, Stepped)
            is_open = False


# --- which alerts are due ---

SECOND = 1_000_000
PACE = Pace(cooldown=600, per_hour=6)


class World(Struct):
    """Incidents as the table holds them, and what was reported, as (time, key, mood)."""

    rows: list[Incident] = []
    sent: list[tuple[int, Key, str]] = []

    def open(self, key: Key, now: int) -> None:
        if not any(row.key == key and row.closed_at is None for row in self.rows):
            self.rows.append(Incident(len(self.rows) + 1, key.kind, key.subject, "detail", now))

    def close(self, key: Key, now: int) -> None:
        self.rows = [
            replace(row, closed_at=now) if row.key == key and row.closed_at is None else row
            for row in self.rows
        ]

    def tell(self, now: int, pace: Pace = PACE) -> list[str]:
        """All that is due, as the watchman tells it; the titles."""
        titles = []
        while True:
            untold = [r for r in self.rows if r.told_at is None or (r.closed_at and r.over_told_at is None)]
            message = due(untold, self.rows, pace, now=now)
            if message is None:
                return titles
            for row in self.rows:
                if row.id in message.begun:
                    assert row.told_at is None
                if row.id in message.ended:
                    assert row.closed_at is not None
                    assert row.over_told_at is None
            self.rows = [
                replace(row, told_at=row.told_at or now, over_told_at=now)
                if row.id in message.ended
                else replace(row, told_at=now)
                if row.id in message.begun
                else row
                for row in self.rows
            ]
            key = next(row.key for row in self.rows if row.id in (*message.begun, *message.ended))
            self.sent.append((now, key, message.mood))
            titles.append(message.title)
            now += 1


def test_one_incident_is_two_messages() -> None:
    world = World()
    world.open(SOURCE, 0)
    assert world.tell(1) == ["chainfold: the source of main fails"]
    assert world.tell(2) == []
    world.close(SOURCE, 3)
    assert world.tell(4) == ["chainfold: over: the source of main fails"]
    assert world.tell(5) == []


def test_one_that_came_and_went_before_anybody_was_told_is_one_message() -> None:
    world = World()
    world.open(SOURCE, 0)
    world.close(SOURCE, 1)
    assert world.tell(2) == ["chainfold: over: the source of main fails"]
    assert world.tell(3) == []


def test_what_flaps_is_one_pair_and_then_a_count() -> None:
    world = World()
    for turn in range(5):
        world.open(SOURCE, 2 * turn * SECOND)
        world.tell(2 * turn * SECOND)
        world.close(SOURCE, (2 * turn + 1) * SECOND)
        world.tell((2 * turn + 1) * SECOND)
    assert [mood for _, _, mood in world.sent] == ["open", "over"]
    world.tell(601 * SECOND)
    assert [mood for _, _, mood in world.sent] == ["open", "over", "summary"]
    untold = World(rows=[replace(row, told_at=None, over_told_at=None) for row in world.rows[1:]])
    message = due(untold.rows, [], PACE, now=601 * SECOND)
    assert message is not None
    assert "4 times since 1970-01-01 00:00:02Z" in message.body


def test_one_that_stays_open_through_the_cooldown_is_told_with_a_count_of_those_before() -> None:
    world = World()
    world.open(SOURCE, 0)
    world.tell(0)
    world.close(SOURCE, 1)
    world.tell(1)
    world.open(SOURCE, 2)
    world.close(SOURCE, 3)
    world.open(SOURCE, 4)
    assert world.tell(5) == []
    untold = [row for row in world.rows if row.told_at is None]
    message = due(untold, world.rows, PACE, now=601 * SECOND)
    assert message is not None
    assert (message.mood, message.begun, message.ended) == ("open", (3,), (2,))
    assert "Once before" in message.body


def test_the_last_of_many_says_so_and_the_others_wait() -> None:
    world = World()
    for number in range(10):
        world.open(Key("sink-down", f"p{number}.mongo"), 0)
    assert len(world.tell(0)) == 6
    again = due(world.rows[5:], world.rows[:5], PACE, now=1)
    assert again is not None
    assert "`chainfold alerts list`" in again.body
    assert len(world.tell(3_601 * SECOND)) == 4


def test_messages_of_one_moment_are_counted_each() -> None:
    world = World()
    for name in ("a", "b", "c", "d", "e"):
        world.open(Key("sink-down", name), 0)
    assert len(world.tell(1)) == 5
    world.open(Key("sink-down", "f"), 2)
    world.open(Key("sink-down", "g"), 2)
    assert len(world.tell(2)) == 1


def test_a_kind_that_this_version_does_not_know_is_told_by_its_name() -> None:
    world = World()
    world.open(Key("moon-fell", "main"), 0)
    assert world.tell(0) == ["chainfold: moon-fell main"]


KEYS = [Key("sink-down", name) for name in ("a.mongo", "b.mongo", "c.redis")]
STEPS = st.lists(
    st.tuples(st.integers(0, 400), st.sampled_from(["open", "close", "rest"]), st.sampled_from(KEYS)),
    max_size=80,
)


@given(STEPS)
def test_whatever_opens_and_ends_no_message_is_sent_twice_too_soon_or_never(
    steps: list[tuple[int, str, Key]],
) -> None:
    world, now = World(), 0
    for pause, what, key in steps:
        now += pause * SECOND
        if what == "open":
            world.open(key, now)
        elif what == "close":
            world.close(key, now)
        world.tell(now)
    for at, _, _ in world.sent:
        hour = [other for other, _, _ in world.sent if at - int(HOUR * SECOND) < other <= at]
        assert len(hour) <= PACE.per_hour
    for key in KEYS:
        begun = [at for at, of, mood in world.sent if of == key and mood != "over"]
        assert all(later - at >= PACE.cooldown * SECOND for at, later in pairwise(begun))
    for _ in range(40):  # in the end all is reported
        now += 3_600 * SECOND
        world.tell(now)
    assert all(row.told_at is not None for row in world.rows)
    assert all((row.over_told_at is None) == (row.closed_at is None) for row in world.rows)
