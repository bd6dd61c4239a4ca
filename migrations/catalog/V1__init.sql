-- The catalog that all shops share. Written by the hub alone, pulled by every till.
-- Safe to run twice: it runs once, in one transaction with its history row.

-- The revision that this file holds. One row.
CREATE TABLE catalog_state (
    one        INTEGER PRIMARY KEY CHECK (one = 1),
    revision   INTEGER NOT NULL,           -- grows with every publication
    hlc        INTEGER NOT NULL            -- the newest logical time among the merged edits
) STRICT;
INSERT INTO catalog_state VALUES (1, 0, 0);

-- How far each node's edits are merged into this revision: it may forget its pending copies up to here.
CREATE TABLE merged_edits (
    node TEXT PRIMARY KEY,
    seq  INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- How concurrent edits of a column are settled; column `*` holds for the rest of the table.
CREATE TABLE policy (
    table_name  TEXT NOT NULL,
    column_name TEXT NOT NULL,
    policy      TEXT NOT NULL CHECK (policy IN ('last_writer_wins', 'hub_wins', 'shop_wins', 'manual')),
    since_ms    INTEGER,                   -- when a person set it, by the hub's clock; empty: as shipped
    PRIMARY KEY (table_name, column_name)
) STRICT, WITHOUT ROWID;

-- The tables below are described by their schema: the columns a shop may edit stand between `id`
-- and `deleted`; the rest is bookkeeping that the hub writes. `versions` is a JSON object from column
-- to the stamp of its current version.

CREATE TABLE products (
    id TEXT PRIMARY KEY,
    name TEXT,
    barcode TEXT,
    price_mills INTEGER,                       -- list price: thousandths of the major currency unit
    tax TEXT,                                  -- id in taxes
    unit TEXT,                                 -- selling unit, such as piece or kg
    deleted INTEGER NOT NULL DEFAULT 0,
    origin_shop_id TEXT,                       -- who created it; empty is the hub
    last_modified_shop_id TEXT,                -- who changed it last; empty is the hub
    last_modified_at INTEGER NOT NULL,         -- hybrid logical clock of the latest merged edit
    revision INTEGER NOT NULL,                 -- the publication that wrote this row
    versions TEXT NOT NULL DEFAULT '{}'
) STRICT, WITHOUT ROWID;
CREATE INDEX products_by_revision ON products (revision);
CREATE INDEX products_by_barcode ON products (barcode) WHERE barcode IS NOT NULL;

CREATE TABLE prices (
    id TEXT PRIMARY KEY,
    product TEXT,                              -- id in products
    price_mills INTEGER,                       -- thousandths of the major currency unit
    valid_from_ms INTEGER,                     -- milliseconds since the Unix epoch; empty is always
    shop TEXT,                                 -- id of the shop it holds for; empty is every shop
    deleted INTEGER NOT NULL DEFAULT 0,
    origin_shop_id TEXT,                       -- who created it; empty is the hub
    last_modified_shop_id TEXT,                -- who changed it last; empty is the hub
    last_modified_at INTEGER NOT NULL,         -- hybrid logical clock of the latest merged edit
    revision INTEGER NOT NULL,                 -- the publication that wrote this row
    versions TEXT NOT NULL DEFAULT '{}'
) STRICT, WITHOUT ROWID;
CREATE INDEX prices_by_revision ON prices (revision);
CREATE INDEX prices_by_product ON prices (product, valid_from_ms);

CREATE TABLE customers (
    id TEXT PRIMARY KEY,
    name TEXT,
    phone TEXT,
    email TEXT,
    credit_limit_minor INTEGER,                -- minor units
    deleted INTEGER NOT NULL DEFAULT 0,
    origin_shop_id TEXT,                       -- who created it; empty is the hub
    last_modified_shop_id TEXT,                -- who changed it last; empty is the hub
    last_modified_at INTEGER NOT NULL,         -- hybrid logical clock of the latest merged edit
    revision INTEGER NOT NULL,                 -- the publication that wrote this row
    versions TEXT NOT NULL DEFAULT '{}'
) STRICT, WITHOUT ROWID;
CREATE INDEX customers_by_revision ON customers (revision);

CREATE TABLE employees (
    id TEXT PRIMARY KEY,
    name TEXT,
    role TEXT,
    active INTEGER,                            -- 1 or 0
    deleted INTEGER NOT NULL DEFAULT 0,
    origin_shop_id TEXT,                       -- who created it; empty is the hub
    last_modified_shop_id TEXT,                -- who changed it last; empty is the hub
    last_modified_at INTEGER NOT NULL,         -- hybrid logical clock of the latest merged edit
    revision INTEGER NOT NULL,                 -- the publication that wrote this row
    versions TEXT NOT NULL DEFAULT '{}'
) STRICT, WITHOUT ROWID;
CREATE INDEX employees_by_revision ON employees (revision);

CREATE TABLE taxes (
    id TEXT PRIMARY KEY,
    name TEXT,
    rate_basis_points INTEGER,                 -- hundredths of a percent: 20 % is 2000
    deleted INTEGER NOT NULL DEFAULT 0,
    origin_shop_id TEXT,                       -- who created it; empty is the hub
    last_modified_shop_id TEXT,                -- who changed it last; empty is the hub
    last_modified_at INTEGER NOT NULL,         -- hybrid logical clock of the latest merged edit
    revision INTEGER NOT NULL,                 -- the publication that wrote this row
    versions TEXT NOT NULL DEFAULT '{}'
) STRICT, WITHOUT ROWID;
CREATE INDEX taxes_by_revision ON taxes (revision);

CREATE TABLE shop_settings (
    id TEXT PRIMARY KEY,
    shop TEXT,                                 -- id of the shop; empty is every shop
    value TEXT,
    deleted INTEGER NOT NULL DEFAULT 0,
    origin_shop_id TEXT,                       -- who created it; empty is the hub
    last_modified_shop_id TEXT,                -- who changed it last; empty is the hub
    last_modified_at INTEGER NOT NULL,         -- hybrid logical clock of the latest merged edit
    revision INTEGER NOT NULL,                 -- the publication that wrote this row
    versions TEXT NOT NULL DEFAULT '{}'
) STRICT, WITHOUT ROWID;
CREATE INDEX shop_settings_by_revision ON shop_settings (revision);

INSERT INTO policy (table_name, column_name, policy) VALUES
    ('products', '*', 'last_writer_wins'),
    ('products', 'tax', 'hub_wins'),
    ('products', 'price_mills', 'last_writer_wins'),
    ('prices', '*', 'hub_wins'),
    ('customers', '*', 'last_writer_wins'),
    ('customers', 'credit_limit_minor', 'manual'),
    ('employees', '*', 'last_writer_wins'),
    ('taxes', '*', 'hub_wins'),
    ('shop_settings', '*', 'last_writer_wins');
