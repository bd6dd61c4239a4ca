-- Adds suppliers, of each product who supplies it, and aliases of merged rows.
-- Safe to run twice: it runs once, in one transaction with its history row.

CREATE TABLE suppliers (
    id TEXT PRIMARY KEY,
    name TEXT,
    phone TEXT,
    email TEXT,
    deleted INTEGER NOT NULL DEFAULT 0,
    origin_shop_id TEXT,                       -- who created it; empty is the hub
    last_modified_shop_id TEXT,                -- who changed it last; empty is the hub
    last_modified_at INTEGER NOT NULL,         -- hybrid logical clock of the latest merged edit
    revision INTEGER NOT NULL,                 -- the publication that wrote this row
    versions TEXT NOT NULL DEFAULT '{}'
) STRICT, WITHOUT ROWID;
CREATE INDEX suppliers_by_revision ON suppliers (revision);

ALTER TABLE products ADD COLUMN supplier TEXT;         -- id in suppliers

INSERT INTO policy (table_name, column_name, policy) VALUES
    ('products', 'supplier', 'hub_wins'),
    ('suppliers', '*', 'hub_wins');

-- A customer or product that was merged into another one: the id is `table/row` of the duplicate.
CREATE TABLE aliases (
    id TEXT PRIMARY KEY,
    survivor TEXT,                             -- id of the row that stands for it, in the same table
    deleted INTEGER NOT NULL DEFAULT 0,
    origin_shop_id TEXT,                       -- who created it; empty is the hub
    last_modified_shop_id TEXT,                -- who changed it last; empty is the hub
    last_modified_at INTEGER NOT NULL,         -- hybrid logical clock of the latest merged edit
    revision INTEGER NOT NULL,                 -- the publication that wrote this row
    versions TEXT NOT NULL DEFAULT '{}'
) STRICT, WITHOUT ROWID;
CREATE INDEX aliases_by_revision ON aliases (revision);

INSERT INTO policy (table_name, column_name, policy) VALUES
    ('aliases', '*', 'last_writer_wins');
