-- The book of one lane: the journal and the documents it lists. Written by that lane alone.
-- Safe to run twice: it runs once, in one transaction with its history row.

-- What this database is. One row a key; values are text.
CREATE TABLE meta (
    key   TEXT PRIMARY KEY,
    value TEXT NOT NULL
) STRICT, WITHOUT ROWID;

-- One dense list of everything the node did; `seq` is the key of every document table below.
CREATE TABLE journal (
    seq      INTEGER PRIMARY KEY,
    id       BLOB    NOT NULL,             -- UUIDv7 of the document, 16 bytes
    hlc      INTEGER NOT NULL,             -- hybrid logical clock: milliseconds << 16 | counter
    topic    INTEGER NOT NULL,             -- domain::Topic
    priority INTEGER NOT NULL,             -- domain::Priority
    payload  TEXT,                         -- JSON of a catalog edit; other topics stand in their table
    chain    BLOB    NOT NULL              -- BLAKE3 over the previous chain value and this entry
) STRICT;
CREATE UNIQUE INDEX journal_by_id ON journal (id);

-- A sale or a refund.
CREATE TABLE receipt (
    seq          INTEGER PRIMARY KEY REFERENCES journal (seq),
    trial        INTEGER NOT NULL,         -- 1 before activation
    series       TEXT    NOT NULL,
    number       INTEGER NOT NULL,         -- dense in its series, from 1
    at_ms        INTEGER NOT NULL,         -- milliseconds since the Unix epoch, the till's clock
    currency     TEXT    NOT NULL,
    total_minor  INTEGER NOT NULL,
    customer     TEXT,
    employee     TEXT,
    refund_of    BLOB,
    external_ref TEXT
) STRICT;
CREATE UNIQUE INDEX receipt_by_number ON receipt (series, number);
CREATE UNIQUE INDEX receipt_by_external_ref ON receipt (external_ref) WHERE external_ref IS NOT NULL;

CREATE TABLE receipt_line (
    seq              INTEGER NOT NULL REFERENCES receipt (seq),
    line             INTEGER NOT NULL,     -- from 1
    sku              TEXT    NOT NULL,
    description      TEXT    NOT NULL,
    quantity_milli   INTEGER NOT NULL,     -- thousandths of the selling unit
    unit_price_mills INTEGER NOT NULL,     -- thousandths of the major currency unit
    amount_minor     INTEGER NOT NULL,
    PRIMARY KEY (seq, line)
) STRICT, WITHOUT ROWID;

CREATE TABLE payment (
    seq          INTEGER NOT NULL REFERENCES receipt (seq),
    payment      INTEGER NOT NULL,         -- from 1
    tender       TEXT    NOT NULL,
    amount_minor INTEGER NOT NULL,
    PRIMARY KEY (seq, payment)
) STRICT, WITHOUT ROWID;

CREATE TABLE stock_movement (
    seq            INTEGER PRIMARY KEY REFERENCES journal (seq),
    sku            TEXT    NOT NULL,
    quantity_milli INTEGER NOT NULL,       -- positive comes in
    reason         TEXT    NOT NULL,
    at_ms          INTEGER NOT NULL,
    external_ref   TEXT
) STRICT;
CREATE UNIQUE INDEX stock_movement_by_external_ref
    ON stock_movement (external_ref) WHERE external_ref IS NOT NULL;

CREATE TABLE stock_count (
    seq            INTEGER PRIMARY KEY REFERENCES journal (seq),
    sku            TEXT    NOT NULL,
    quantity_milli INTEGER NOT NULL,
    at_ms          INTEGER NOT NULL
) STRICT;

CREATE TABLE expense (
    seq          INTEGER PRIMARY KEY REFERENCES journal (seq),
    category     TEXT    NOT NULL,
    amount_minor INTEGER NOT NULL,
    currency     TEXT    NOT NULL,
    note         TEXT    NOT NULL,
    at_ms        INTEGER NOT NULL
) STRICT;

CREATE TABLE ledger_entry (
    seq          INTEGER PRIMARY KEY REFERENCES journal (seq),
    customer     TEXT    NOT NULL,
    amount_minor INTEGER NOT NULL,         -- positive: the customer owes more
    currency     TEXT    NOT NULL,
    note         TEXT    NOT NULL,
    at_ms        INTEGER NOT NULL
) STRICT;

CREATE TABLE advance_order (
    seq           INTEGER PRIMARY KEY REFERENCES journal (seq),
    customer      TEXT    NOT NULL,
    due_ms        INTEGER NOT NULL,
    lines         TEXT    NOT NULL,        -- JSON list of domain::Line
    total_minor   INTEGER NOT NULL,
    deposit_minor INTEGER NOT NULL,
    currency      TEXT    NOT NULL,
    at_ms         INTEGER NOT NULL
) STRICT;

CREATE TABLE cash_session (
    seq           INTEGER PRIMARY KEY REFERENCES journal (seq),
    event         TEXT    NOT NULL,        -- open or close
    counted_minor INTEGER NOT NULL,
    currency      TEXT    NOT NULL,
    employee      TEXT,
    at_ms         INTEGER NOT NULL
) STRICT;

CREATE TABLE activation (
    seq       INTEGER PRIMARY KEY REFERENCES journal (seq),
    shop      BLOB    NOT NULL,
    shop_name TEXT    NOT NULL,
    at_ms     INTEGER NOT NULL
) STRICT;
