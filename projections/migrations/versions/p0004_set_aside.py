"""Documents that a sink does not take; where each sink stood, and why it takes nothing."""

from alembic import op

revision = "p0004"
down_revision = "p0007"
branch_labels = None
depends_on = None

STATEMENTS = """
CREATE TABLE set_aside (
    projection VARCHAR(100) NOT NULL, sink VARCHAR(100) NOT NULL, key TEXT {bytewise} NOT NULL,
    revision BIGINT NOT NULL, reason TEXT NOT NULL, attempts BIGINT NOT NULL, first_at BIGINT NOT NULL,
    tried_at BIGINT NOT NULL, next_at BIGINT NOT NULL, arrived BIGINT,
    PRIMARY KEY (projection, sink, key)) {norowid};
ALTER TABLE publications ADD COLUMN revision BIGINT NOT NULL DEFAULT 0;
ALTER TABLE publications ADD COLUMN key TEXT {bytewise} NOT NULL DEFAULT '';
ALTER TABLE publications ADD COLUMN error TEXT
"""


def upgrade() -> None:
    sqlite = op.get_bind().dialect.name == "sqlite"
    words = {"norowid": "WITHOUT ROWID" if sqlite else "", "bytewise": "" if sqlite else 'COLLATE "C"'}
    for statement in STATEMENTS.format(**words).split(";"):
        op.execute(statement)
