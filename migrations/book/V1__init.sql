-- The book of one lane: the journal and the documents it lists. Written by that lane alone.
-- Safe to run twice: it runs once, in one transaction with its history row.

-- What this database is. One row a key; values are text.
CREATE TABLE meta (
    key   TEXT PRIMARY KEY,
    value TEXT NOT NULL
) STRICT, WITHOUT ROWID;

-- One dense list of everything the node did. A sale or refund stands in its entry's own row, so that it touches few pages;
-- `seq` is the key of every document table below.
CREATE TABLE journal (
    seq          INTEGER PRIMARY KEY,
    id           BLOB    NOT NULL,         -- UUIDv7 of the document, 16 bytes
    hlc          INTEGER NOT NULL,         -- hybrid logical clock: milliseconds << 16 | counter
    topic        INTEGER NOT NULL,         -- domain::Topic
    priority     INTEGER NOT NULL,         -- domain::Priority
    chain        BLOB    NOT NULL,         -- BLAKE3 over the previous chain value and this entry
    payload      TEXT,                     -- JSON of a catalog edit; other topics stand in columns
    -- Of a sale or refund; empty for other topics.
    trial        INTEGER,                  -- 1 before activation
    series       TEXT,
    number       INTEGER,                  -- dense in its series, from 1
    at_ms        INTEGER,                  -- milliseconds since the Unix epoch, the till's clock
    currency     TEXT,
    total_minor  INTEGER,
    customer     TEXT,
    employee     TEXT,
    refund_of    BLOB,
    external_ref TEXT
) STRICT;
CREATE UNIQUE INDEX journal_by_id ON journal (id);
CREATE UNIQUE INDEX receipt_by_number ON journal (series, number) WHERE number IS NOT NULL;
CREATE UNIQUE INDEX receipt_by_external_ref ON journal (external_ref) WHERE external_ref IS NOT NULL;

-- Lines and payments of receipts, side by side: `key` is seq << 16 | line, or seq << 16 | 32768 | payment, both from 1. A rowid,
-- because SQLite fills the pages of a table to the brim only when its rows arrive in the order of their rowid.
CREATE TABLE receipt_item (
    key              INTEGER PRIMARY KEY,
    sku              TEXT,                 -- of a line, as the next three
    description      TEXT,
    quantity_milli   INTEGER,              -- thousandths of the selling unit
    unit_price_mills INTEGER,              -- thousandths of the major currency unit
    tender           TEXT,                 -- of a payment
    amount_minor     INTEGER NOT NULL
) STRICT;

-- For whoever reads: sales and refunds, their lines and their payments.
CREATE VIEW receipt AS
    SELECT seq, trial, series, number, at_ms, currency, total_minor, customer, employee, refund_of,
        external_ref
    FROM journal WHERE number IS NOT NULL;

CREATE VIEW receipt_line AS
    SELECT j.seq, i.key & 32767 AS line, i.sku, i.description, i.quantity_milli, i.unit_price_mills,
        i.amount_minor
    FROM journal AS j CROSS JOIN receipt_item AS i
    WHERE i.key > j.seq << 16 AND i.key < j.seq << 16 | 32768;

CREATE VIEW payment AS
    SELECT j.seq, i.key & 32767 AS payment, i.tender, i.amount_minor
    FROM journal AS j CROSS JOIN receipt_item AS i
    WHERE i.key > j.seq << 16 | 32768 AND i.key < j.seq + 1 << 16;

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

-- A business day that was closed: what the receipts up to then come to, for the hub to check (X9).
CREATE TABLE closure (
    seq     INTEGER PRIMARY KEY REFERENCES journal (seq),
    day     TEXT    NOT NULL,              -- YYYY-MM-DD
    content TEXT    NOT NULL,              -- JSON of domain::Closure
    at_ms   INTEGER NOT NULL
) STRICT;
