"""Ranges that could not be fetched, calls counted by method, and how far a request has come."""

from alembic import op

revision = "e0002"
down_revision = "e0001"
branch_labels = None
depends_on = None

STATEMENTS = """
CREATE TABLE failures (
    chain_id BIGINT NOT NULL, first_block BIGINT NOT NULL, last_block BIGINT NOT NULL,
    attempts INTEGER NOT NULL, since BIGINT NOT NULL, retry_at BIGINT NOT NULL, reason TEXT NOT NULL,
    PRIMARY KEY (chain_id, first_block));
CREATE TABLE calls (
    chain_id BIGINT NOT NULL, method VARCHAR(64) NOT NULL, count BIGINT NOT NULL,
    PRIMARY KEY (chain_id, method));
ALTER TABLE requests ADD COLUMN done BIGINT;
ALTER TABLE requests ADD COLUMN total BIGINT
"""


def upgrade() -> None:
    for statement in STATEMENTS.split(";"):
        op.execute(statement)
