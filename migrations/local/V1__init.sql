-- What a node keeps for itself: all of it can be rebuilt from the book, the catalog and the hub.
-- Safe to run twice: it runs once, in one transaction with its history row.

-- Tier, hub, activation in progress. One row a key; values are text.
CREATE TABLE state (
    key   TEXT PRIMARY KEY,
    value TEXT NOT NULL
) STRICT, WITHOUT ROWID;

-- How far others have got in the journal of this node's book.
CREATE TABLE watermark (
    reader TEXT PRIMARY KEY,               -- hub_received or hub_consolidated
    seq    INTEGER NOT NULL,
    at_ms  INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- What the shopkeeper sees happen (T8); pruned to the newest entries.
CREATE TABLE sync_log (
    entry   INTEGER PRIMARY KEY,
    at_ms   INTEGER NOT NULL,
    level   TEXT    NOT NULL,              -- info, warn or error
    event   TEXT    NOT NULL,
    detail  TEXT    NOT NULL               -- JSON object
) STRICT;

-- Conflicts in which this shop has a part, as the hub told them last.
CREATE TABLE conflict (
    id         INTEGER PRIMARY KEY,        -- the hub's number
    state      TEXT NOT NULL,
    table_name TEXT NOT NULL,
    content    TEXT NOT NULL               -- JSON of the hub's row
) STRICT;
CREATE INDEX conflict_by_state ON conflict (state);

-- Operations of other clients that changed nothing when they came. It cannot be rebuilt: without it a repeated
-- operation is carried out as if it came for the first time.
CREATE TABLE unchanged_operation (
    entry INTEGER PRIMARY KEY,
    id    BLOB NOT NULL UNIQUE
) STRICT;
