"""History, guarded by triggers, and the operational tables beside it."""

from alembic import op

revision = "e0001"
down_revision = None
branch_labels = ("eventstore",)
depends_on = None

TABLES = """
CREATE TABLE entries (
    chain_id BIGINT NOT NULL, entry BIGINT NOT NULL, kind VARCHAR(8) NOT NULL,
    first_block BIGINT NOT NULL, last_block BIGINT NOT NULL, log_count BIGINT NOT NULL,
    head_hash {blob} NOT NULL, recorded_at BIGINT NOT NULL,
    previous_digest {blob} NOT NULL, digest {blob} NOT NULL,
    PRIMARY KEY (chain_id, entry)) {norowid};
CREATE TABLE entry_kinds (
    chain_id BIGINT NOT NULL, kind INTEGER NOT NULL, entry BIGINT NOT NULL,
    first_block BIGINT NOT NULL,
    PRIMARY KEY (chain_id, kind, entry)) {norowid};
CREATE TABLE blocks (
    chain_id BIGINT NOT NULL, number BIGINT NOT NULL, entry BIGINT NOT NULL,
    hash {blob} NOT NULL, parent_hash {blob} NOT NULL, timestamp BIGINT NOT NULL,
    PRIMARY KEY (chain_id, number, entry)) {norowid};
CREATE TABLE log_kinds (
    kind INTEGER NOT NULL, address {blob} NOT NULL, topic0 {blob} NOT NULL,
    PRIMARY KEY (kind), CONSTRAINT log_kinds_once UNIQUE (address, topic0));
CREATE TABLE logs (
    chain_id BIGINT NOT NULL, block_number BIGINT NOT NULL, log_index INTEGER NOT NULL,
    entry BIGINT NOT NULL, kind INTEGER NOT NULL, tx_hash {blob} NOT NULL, tx_index INTEGER NOT NULL,
    topic1 {blob}, topic2 {blob}, topic3 {blob}, data {blob} NOT NULL,
    PRIMARY KEY (chain_id, block_number, log_index, entry)) {norowid};
CREATE INDEX logs_by_kind ON logs (chain_id, kind, block_number);
CREATE TABLE orphans (
    chain_id BIGINT NOT NULL, block_number BIGINT NOT NULL, entry BIGINT NOT NULL,
    orphaned_by BIGINT NOT NULL,
    PRIMARY KEY (chain_id, block_number, entry)) {norowid};
CREATE TABLE coverage (
    chain_id BIGINT NOT NULL, address {blob} NOT NULL, topic0 {blob} NOT NULL,
    first_block BIGINT NOT NULL, last_block BIGINT NOT NULL, entry BIGINT NOT NULL,
    checked VARCHAR(8) NOT NULL,
    PRIMARY KEY (chain_id, address, topic0, first_block));
CREATE TABLE store (id VARCHAR(32) NOT NULL, created_at BIGINT NOT NULL, PRIMARY KEY (id));
CREATE TABLE chains (chain_id BIGINT NOT NULL, genesis {blob} NOT NULL, PRIMARY KEY (chain_id));
CREATE TABLE leases (
    name VARCHAR(200) NOT NULL, owner TEXT NOT NULL, epoch BIGINT NOT NULL,
    expires_at DOUBLE PRECISION NOT NULL, PRIMARY KEY (name));
CREATE TABLE tail (
    chain_id BIGINT NOT NULL, number BIGINT NOT NULL, hash {blob} NOT NULL,
    parent_hash {blob} NOT NULL, timestamp BIGINT NOT NULL, PRIMARY KEY (chain_id, number));
CREATE TABLE finality (
    chain_id BIGINT NOT NULL, number BIGINT NOT NULL, hash {blob} NOT NULL, PRIMARY KEY (chain_id));
CREATE TABLE progress (
    chain_id BIGINT NOT NULL, head BIGINT NOT NULL, last_sync_at BIGINT, error TEXT,
    PRIMARY KEY (chain_id));
CREATE TABLE requests (
    id {serial}, lease VARCHAR(200) NOT NULL, kind TEXT NOT NULL, arguments TEXT NOT NULL,
    state VARCHAR(8) NOT NULL, detail TEXT NOT NULL, created_at BIGINT NOT NULL, finished_at BIGINT,
    PRIMARY KEY (id));
CREATE INDEX requests_pending ON requests (lease, state);
CREATE TABLE runs (
    id {serial}, command TEXT NOT NULL, started_at BIGINT NOT NULL, finished_at BIGINT,
    outcome SMALLINT, detail TEXT DEFAULT '' NOT NULL, PRIMARY KEY (id))
"""

HISTORY = ("entries", "entry_kinds", "blocks", "log_kinds", "logs", "orphans")


def upgrade() -> None:
    sqlite = op.get_bind().dialect.name == "sqlite"
    words = {
        "blob": "BLOB" if sqlite else "BYTEA",
        "norowid": "WITHOUT ROWID" if sqlite else "",
        "serial": "INTEGER NOT NULL" if sqlite else "SERIAL NOT NULL",
    }
    for statement in TABLES.format(**words).split(";"):
        op.execute(statement)
    if sqlite:
        for table in HISTORY:
            for verb in ("UPDATE", "DELETE"):
                op.execute(
                    f"CREATE TRIGGER {table}_refuse_{verb.lower()} BEFORE {verb} ON {table} BEGIN "
                    f"SELECT RAISE(ABORT, 'history is append-only: {verb} of {table} refused'); END"
                )
        return
    op.execute(
        "CREATE FUNCTION chainfold_refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN "
        "RAISE EXCEPTION 'history is append-only: % of % refused', TG_OP, TG_TABLE_NAME; END $$"
    )
    for table in HISTORY:
        for verb in ("UPDATE", "DELETE", "TRUNCATE"):
            op.execute(
                f"CREATE TRIGGER {table}_refuse_{verb.lower()} BEFORE {verb} ON {table} "
                "FOR EACH STATEMENT EXECUTE FUNCTION chainfold_refuse()"
            )
