"""PostgreSQL: a log's index takes 64 bits where an event is set aside or passed over, as in the journal.

An index that stands there as a negative number becomes the number that the node sent.
"""

from alembic import op

revision = "p0007"
down_revision = "p0003"
branch_labels = None
depends_on = None

TABLES = ("dead_letters", "skips")


def upgrade() -> None:
    if op.get_bind().dialect.name == "sqlite":
        return
    for table in TABLES:
        op.execute(
            f"ALTER TABLE {table} ALTER COLUMN log_index TYPE BIGINT "
            "USING CASE WHEN log_index < 0 THEN log_index::bigint + 4294967296 ELSE log_index END"
        )
