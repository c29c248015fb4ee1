"""PostgreSQL: a log's index and its transaction's take 64 bits, as on SQLite.

An index from 2^31 to 2^32 - 1 stands in the old column as a negative number: it becomes what the node sent,
and what the digest of its entry speaks for. Where such a log was appended twice, `chainfold verify journal`
names it afterwards, and `chainfold sync --force` over its block puts it right.

The table of logs is rewritten in one transaction: no process can write meanwhile, and its size is needed once
more on disk.
"""

from alembic import op

revision = "e0006"
down_revision = "e0005"
branch_labels = None
depends_on = None

WIDE = "ALTER COLUMN {0} TYPE BIGINT USING CASE WHEN {0} < 0 THEN {0}::bigint + 4294967296 ELSE {0} END"


def upgrade() -> None:
    if op.get_bind().dialect.name == "sqlite":
        return
    op.execute(f"ALTER TABLE logs {WIDE.format('log_index')}, {WIDE.format('tx_index')}")
