"""Headers below finality that show a chain which moved back below it; a node whose head is below ours."""

from alembic import op

revision = "e0007"
down_revision = "e0006"
branch_labels = None
depends_on = None

STATEMENTS = """
CREATE TABLE waymarks (
    chain_id BIGINT NOT NULL, number BIGINT NOT NULL, hash {blob} NOT NULL, parent_hash {blob} NOT NULL,
    timestamp BIGINT NOT NULL, PRIMARY KEY (chain_id, number));
CREATE TABLE behind (
    chain_id BIGINT NOT NULL, shown BIGINT NOT NULL, known BIGINT NOT NULL, since BIGINT NOT NULL,
    PRIMARY KEY (chain_id))
"""


def upgrade() -> None:
    blob = "BLOB" if op.get_bind().dialect.name == "sqlite" else "BYTEA"
    for statement in STATEMENTS.format(blob=blob).split(";"):
        op.execute(statement)
