"""Webhooks: rules with their marker, what they remember, and the notifications to send."""

from alembic import op

revision = "p0003"
down_revision = "p0001"
branch_labels = None
depends_on = None

STATEMENTS = """
CREATE TABLE notification_rules (
    projection VARCHAR(100) NOT NULL, rule VARCHAR(100) NOT NULL, condition TEXT NOT NULL,
    marker TEXT NOT NULL, began_at BIGINT NOT NULL, PRIMARY KEY (projection, rule));
CREATE TABLE notification_memory (
    projection VARCHAR(100) NOT NULL, rule VARCHAR(100) NOT NULL, key TEXT {bytewise} NOT NULL,
    state TEXT NOT NULL, fired BIGINT NOT NULL, PRIMARY KEY (projection, rule, key)) {norowid};
CREATE TABLE notifications (
    id {serial}, projection VARCHAR(100) NOT NULL, rule VARCHAR(100) NOT NULL,
    key TEXT {bytewise} NOT NULL, occurrence BIGINT NOT NULL, idempotency_key VARCHAR(40) NOT NULL,
    body {blob} NOT NULL, state VARCHAR(9) NOT NULL, attempts BIGINT NOT NULL, next_at BIGINT NOT NULL,
    created_at BIGINT NOT NULL, settled_at BIGINT, reason TEXT NOT NULL, PRIMARY KEY (id));
CREATE UNIQUE INDEX notifications_once ON notifications (projection, rule, key, occurrence);
CREATE INDEX notifications_due ON notifications (projection, rule, next_at, id) WHERE state = 'pending';
CREATE INDEX notifications_waiting ON notifications (projection, rule, key, occurrence)
    WHERE state = 'pending'
"""


def upgrade() -> None:
    sqlite = op.get_bind().dialect.name == "sqlite"
    words = {
        "blob": "BLOB" if sqlite else "BYTEA",
        "norowid": "WITHOUT ROWID" if sqlite else "",
        "serial": "INTEGER NOT NULL" if sqlite else "BIGSERIAL NOT NULL",
        "bytewise": "" if sqlite else 'COLLATE "C"',
    }
    for statement in STATEMENTS.format(**words).split(";"):
        op.execute(statement)
