"""The fold's state: generations, documents with their index and undo, and the changes to publish."""

from alembic import op

revision = "p0001"
down_revision = None
branch_labels = ("projections",)
depends_on = None

TABLES = """
CREATE TABLE generations (
    id {serial}, projection VARCHAR(100) NOT NULL, chain_id BIGINT NOT NULL,
    state VARCHAR(8) NOT NULL, fingerprint VARCHAR(64) NOT NULL, entry BIGINT NOT NULL,
    block BIGINT NOT NULL, timestamp BIGINT NOT NULL, documents BIGINT NOT NULL,
    digest {blob} NOT NULL, floor BIGINT NOT NULL, revision BIGINT NOT NULL,
    created_at BIGINT NOT NULL, promoted_at BIGINT, error TEXT,
    promote SMALLINT NOT NULL, hold BIGINT, PRIMARY KEY (id));
CREATE INDEX generations_by_projection ON generations (projection, state);
CREATE UNIQUE INDEX generations_one_live ON generations (projection) WHERE state IN ('live', 'stale');
CREATE TABLE documents (
    generation INTEGER NOT NULL, key TEXT {bytewise} NOT NULL, body {blob} NOT NULL,
    PRIMARY KEY (generation, key)) {norowid};
CREATE TABLE document_index (
    generation INTEGER NOT NULL, name TEXT NOT NULL, value TEXT {bytewise} NOT NULL,
    key TEXT {bytewise} NOT NULL, PRIMARY KEY (generation, name, value, key)) {norowid};
CREATE TABLE undo (
    generation INTEGER NOT NULL, block BIGINT NOT NULL, key TEXT {bytewise} NOT NULL, before {blob},
    PRIMARY KEY (generation, block, key)) {norowid};
CREATE TABLE changes (
    projection VARCHAR(100) NOT NULL, key TEXT {bytewise} NOT NULL, revision BIGINT NOT NULL,
    PRIMARY KEY (projection, key)) {norowid};
CREATE TABLE publications (
    projection VARCHAR(100) NOT NULL, sink VARCHAR(100) NOT NULL, sends BIGINT NOT NULL,
    nonce VARCHAR(32) NOT NULL, PRIMARY KEY (projection, sink));
CREATE TABLE skips (
    projection VARCHAR(100) NOT NULL, block_hash {blob} NOT NULL, log_index INTEGER NOT NULL,
    reason TEXT NOT NULL, created_at BIGINT NOT NULL,
    PRIMARY KEY (projection, block_hash, log_index));
CREATE TABLE dead_letters (
    generation INTEGER NOT NULL, block BIGINT NOT NULL, log_index INTEGER NOT NULL,
    entry BIGINT NOT NULL, reason TEXT NOT NULL, stack TEXT NOT NULL,
    PRIMARY KEY (generation, block, log_index));
CREATE INDEX changes_by_revision ON changes (projection, revision, key)
"""


def upgrade() -> None:
    sqlite = op.get_bind().dialect.name == "sqlite"
    words = {
        "blob": "BLOB" if sqlite else "BYTEA",
        "norowid": "WITHOUT ROWID" if sqlite else "",
        "serial": "INTEGER NOT NULL" if sqlite else "SERIAL NOT NULL",
        "bytewise": "" if sqlite else 'COLLATE "C"',  # keys sort the same on both engines
    }
    for statement in TABLES.format(**words).split(";"):
        op.execute(statement)
