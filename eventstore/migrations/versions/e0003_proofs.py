"""What was proved for each filter, the hashes that further proofs start from, and the blocks that failed."""

from alembic import op

revision = "e0003"
down_revision = "e0002"
branch_labels = None
depends_on = None

STATEMENTS = """
CREATE TABLE proofs (
    chain_id BIGINT NOT NULL, address {blob} NOT NULL, topic0 {blob} NOT NULL, first_block BIGINT NOT NULL,
    last_block BIGINT NOT NULL, by_bloom BIGINT NOT NULL, by_receipts BIGINT NOT NULL,
    provider TEXT NOT NULL, proved_at BIGINT NOT NULL,
    PRIMARY KEY (chain_id, address, topic0, first_block));
CREATE TABLE anchors (
    chain_id BIGINT NOT NULL, number BIGINT NOT NULL, hash {blob} NOT NULL, PRIMARY KEY (chain_id, number));
CREATE TABLE disproofs (
    chain_id BIGINT NOT NULL, number BIGINT NOT NULL, hash {blob} NOT NULL, kind VARCHAR(8) NOT NULL,
    reason TEXT NOT NULL, provider TEXT NOT NULL, found_at BIGINT NOT NULL,
    PRIMARY KEY (chain_id, number))
"""


def upgrade() -> None:
    blob = "BLOB" if op.get_bind().dialect.name == "sqlite" else "BYTEA"
    for statement in STATEMENTS.format(blob=blob).split(";"):
        op.execute(statement)
