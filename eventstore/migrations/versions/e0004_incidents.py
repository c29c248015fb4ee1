"""Incidents and whether alerts were sent; runs with their origin, and the lease that keeps them alive."""

from alembic import op

revision = "e0004"
down_revision = "e0003"
branch_labels = None
depends_on = None

STATEMENTS = """
CREATE TABLE incidents (
    id {serial}, kind VARCHAR(40) NOT NULL, subject VARCHAR(200) NOT NULL, detail TEXT NOT NULL,
    opened_at BIGINT NOT NULL, closed_at BIGINT, outcome TEXT DEFAULT '' NOT NULL,
    told_at BIGINT, over_told_at BIGINT, claimed_until BIGINT DEFAULT 0 NOT NULL, PRIMARY KEY (id));
CREATE UNIQUE INDEX incidents_open ON incidents (kind, subject) WHERE closed_at IS NULL;
CREATE INDEX incidents_by_key ON incidents (kind, subject, id);
CREATE TABLE deliveries (
    target VARCHAR(100) NOT NULL, failing_since BIGINT, attempts BIGINT DEFAULT 0 NOT NULL,
    reason TEXT DEFAULT '' NOT NULL, PRIMARY KEY (target));
ALTER TABLE runs ADD COLUMN origin VARCHAR(8) DEFAULT 'manual' NOT NULL;
ALTER TABLE runs ADD COLUMN due_at BIGINT;
ALTER TABLE runs ADD COLUMN owner TEXT DEFAULT '' NOT NULL;
ALTER TABLE runs ADD COLUMN beat_at BIGINT;
CREATE INDEX runs_by_command ON runs (command, id)
"""


def upgrade() -> None:
    serial = "INTEGER NOT NULL" if op.get_bind().dialect.name == "sqlite" else "SERIAL NOT NULL"
    for statement in STATEMENTS.format(serial=serial).split(";"):
        op.execute(statement)
