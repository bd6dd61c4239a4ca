-- The hub's own database: shops, nodes, consolidated documents, merge history.
-- Safe to run twice: it runs once, in one transaction with its history row.

CREATE TABLE meta (
    key   TEXT PRIMARY KEY,
    value TEXT NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE shop (
    id         BLOB PRIMARY KEY,
    name       TEXT    NOT NULL,
    phone      TEXT,
    email      TEXT,
    active     INTEGER NOT NULL DEFAULT 1,
    created_ms INTEGER NOT NULL,
    revocations INTEGER NOT NULL DEFAULT 0 -- number of the list of its revoked lanes, grows with each change
) STRICT, WITHOUT ROWID;
CREATE UNIQUE INDEX shop_by_name ON shop (name);

-- Lanes whose certificates the other lanes of their shop refuse, as the shop's signed list says. No row ever goes.
CREATE TABLE revoked_lane (
    shop             BLOB    NOT NULL REFERENCES shop (id),
    node             BLOB    NOT NULL,     -- may be one that this hub has forgotten
    issued_before_ms INTEGER,              -- those whose time begins earlier; empty: all
    number           INTEGER NOT NULL,     -- of the list that said so
    heard_ms         INTEGER NOT NULL,     -- when this hub decided or heard so
    PRIMARY KEY (shop, node)
) STRICT, WITHOUT ROWID;

-- Keys of lanes that have had a certificate.
CREATE TABLE lane_key (
    node      BLOB    NOT NULL,
    key       BLOB    NOT NULL,
    issued_ms INTEGER NOT NULL,            -- its newest certificate
    refused   INTEGER NOT NULL DEFAULT 0,  -- 1: the lane was revoked since; it is never certified again
    PRIMARY KEY (node, key)
) STRICT, WITHOUT ROWID;

-- Databases of programs that have nothing to do with shops.
CREATE TABLE free_database (
    name       TEXT PRIMARY KEY,
    folder     TEXT    NOT NULL UNIQUE,    -- below databases/; no other database ever has it
    token_hash BLOB    NOT NULL UNIQUE,    -- SHA-256 of the token
    created_ms INTEGER NOT NULL,
    seen_ms    INTEGER                     -- last request with the token
) STRICT, WITHOUT ROWID;

CREATE TABLE join_code (
    secret_hash BLOB PRIMARY KEY,          -- SHA-256 of the one-time secret
    shop        BLOB    NOT NULL REFERENCES shop (id),
    created_ms  INTEGER NOT NULL,
    expires_ms  INTEGER NOT NULL,
    used_by     BLOB,                      -- the node that used it
    used_ms     INTEGER
) STRICT, WITHOUT ROWID;

CREATE TABLE node (
    number           INTEGER PRIMARY KEY,  -- short key of the tables below
    id               BLOB    NOT NULL UNIQUE,
    shop             BLOB    NOT NULL REFERENCES shop (id),
    lane             INTEGER NOT NULL,     -- from 1 in its shop
    token_hash       BLOB    NOT NULL UNIQUE,
    created_ms       INTEGER NOT NULL,
    revoked_ms       INTEGER,
    -- What the node said and did last.
    seen_ms          INTEGER,
    book_schema      INTEGER,
    catalog_schema   INTEGER,
    schema_ms        INTEGER,              -- when the schema versions were recorded
    catalog_revision INTEGER,              -- what it has pulled (L6)
    clock_offset_ms  INTEGER,              -- its clock minus the hub's
    failed           INTEGER NOT NULL DEFAULT 0, -- entries that it has given up on sending
    waiting          INTEGER NOT NULL DEFAULT 0, -- entries that it had not sent at its last hello
    halted           TEXT,                 -- why its book is not consolidated any further
    waits            TEXT,                 -- why its book is not read until somebody is upgraded
    waits_since_ms   INTEGER,
    waits_seq        INTEGER,              -- newest entry that is here meanwhile
    -- A till that was restored from a backup or cloned goes on as another node.
    forked_from      INTEGER REFERENCES node (number),
    forked_seq       INTEGER,              -- entries up to here are the former node's
    forked_chain     BLOB,                 -- the chain value found there
    root             INTEGER REFERENCES node (number), -- first of the lineage; empty: itself
    epoch            INTEGER NOT NULL DEFAULT 1, -- its receipt series begin with this number
    heard_ms         INTEGER,              -- its first hello; empty: it has not spoken under this identity
    -- One token follows another; the first use of the next one ends the one before.
    token_expires_ms INTEGER,              -- empty: it does not end by itself
    token_rotate     INTEGER NOT NULL DEFAULT 0, -- 1: an operator wants another one now
    next_token_hash  BLOB    UNIQUE,       -- named by the node, and not used yet
    next_token_expires_ms INTEGER,
    UNIQUE (shop, lane)
) STRICT;
CREATE INDEX node_by_root ON node (root) WHERE root IS NOT NULL;

-- How wrong a node's clock was, at contacts, and how long its journal was then (X1).
CREATE TABLE clock_measurement (
    node          INTEGER NOT NULL REFERENCES node (number),
    seq           INTEGER NOT NULL,        -- entries up to here were recorded before
    at_ms         INTEGER NOT NULL,        -- the hub's clock
    offset_ms     INTEGER NOT NULL,        -- the node's clock minus the hub's
    round_trip_ms INTEGER NOT NULL,
    PRIMARY KEY (node, seq, at_ms)
) STRICT, WITHOUT ROWID;

-- How far a node's journal is consolidated, by priority (T4), with the chain value found there.
CREATE TABLE watermark (
    node     INTEGER NOT NULL REFERENCES node (number),
    priority INTEGER NOT NULL,
    seq      INTEGER NOT NULL,
    chain    BLOB    NOT NULL,
    at_ms    INTEGER NOT NULL,
    PRIMARY KEY (node, priority)
) STRICT, WITHOUT ROWID;

-- The consolidated documents: the node's rows under (node, seq), moved by INSERT ... SELECT.
CREATE TABLE receipt (
    node         INTEGER NOT NULL,
    seq          INTEGER NOT NULL,
    id           BLOB    NOT NULL,
    topic        INTEGER NOT NULL,
    hlc          INTEGER NOT NULL,
    trial        INTEGER NOT NULL,
    series       TEXT    NOT NULL,
    number       INTEGER NOT NULL,
    at_ms        INTEGER NOT NULL,
    currency     TEXT    NOT NULL,
    total_minor  INTEGER NOT NULL,
    customer     TEXT,
    employee     TEXT,
    refund_of    BLOB,
    external_ref TEXT,
    parked       TEXT,                     -- JSON of domain::parked::Finishes: the parked sale that it finishes
    import_id    BLOB,                    -- the import that brought it
    corrected_ms INTEGER NOT NULL,         -- at_ms by the hub's clock, as far as it is known (X1)
    corrected_error_ms INTEGER,            -- how far that may be off; empty: nobody knows
    PRIMARY KEY (node, seq)
) STRICT, WITHOUT ROWID;
CREATE UNIQUE INDEX receipt_by_id ON receipt (id);
CREATE INDEX receipt_by_number ON receipt (node, series, number);
CREATE INDEX receipt_by_import ON receipt (import_id) WHERE import_id IS NOT NULL;
CREATE INDEX receipt_by_refund ON receipt (refund_of) WHERE refund_of IS NOT NULL;
CREATE INDEX receipt_by_parked ON receipt (parked ->> 'id') WHERE parked IS NOT NULL;

CREATE TABLE receipt_line (
    node             INTEGER NOT NULL,
    seq              INTEGER NOT NULL,
    line             INTEGER NOT NULL,
    sku              TEXT    NOT NULL,
    description      TEXT    NOT NULL,
    quantity_milli   INTEGER NOT NULL,
    unit_price_mills INTEGER NOT NULL,
    amount_minor     INTEGER NOT NULL,
    PRIMARY KEY (node, seq, line)
) STRICT, WITHOUT ROWID;

CREATE TABLE payment (
    node         INTEGER NOT NULL,
    seq          INTEGER NOT NULL,
    payment      INTEGER NOT NULL,
    tender       TEXT    NOT NULL,
    amount_minor INTEGER NOT NULL,
    PRIMARY KEY (node, seq, payment)
) STRICT, WITHOUT ROWID;

-- The documents of every other topic; `content` is the node's row as a JSON object.
CREATE TABLE document (
    node    INTEGER NOT NULL,
    seq     INTEGER NOT NULL,
    id      BLOB    NOT NULL,
    topic   INTEGER NOT NULL,
    hlc     INTEGER NOT NULL,
    at_ms   INTEGER NOT NULL,
    content TEXT    NOT NULL,
    corrected_ms INTEGER NOT NULL,         -- as of a receipt
    corrected_error_ms INTEGER,
    import_id BLOB,                        -- the import that brought it
    PRIMARY KEY (node, seq)
) STRICT, WITHOUT ROWID;
CREATE UNIQUE INDEX document_by_id ON document (id);
CREATE INDEX document_by_import ON document (import_id) WHERE import_id IS NOT NULL;

-- Every version that a catalog field ever had (X2); the merge decides over these rows.
CREATE TABLE field_version (
    table_name  TEXT    NOT NULL,
    row_id      TEXT    NOT NULL,
    column_name TEXT    NOT NULL,
    hlc         INTEGER NOT NULL,
    node_tag    INTEGER NOT NULL,
    value       TEXT    NOT NULL,          -- JSON scalar
    base        TEXT    NOT NULL,          -- JSON list of stamps
    base_revision INTEGER NOT NULL,        -- the catalog that its editor had; for people
    edit        BLOB    NOT NULL,
    node        BLOB    NOT NULL,
    shop        BLOB,                      -- empty: the hub itself
    import_id   BLOB,                      -- the import that brought it
    corrected_hlc INTEGER NOT NULL,        -- by the hub's clock; what decides who was later (X1)
    seq         INTEGER,                   -- of the entry in the node's journal; empty: the hub's own edit
    waived      INTEGER NOT NULL DEFAULT 0, -- 1: counts though the row was another shop's
    gone        INTEGER NOT NULL DEFAULT 0, -- 1: counts no more: its edit came back from quarantine as another one, or
                                           -- it was undone while the row was another shop's
    undone      INTEGER NOT NULL DEFAULT 0, -- 1: an undoing took it back, or wrote it: a later one looks through it, and
                                           -- it says nothing of whose the row is
    PRIMARY KEY (table_name, row_id, column_name, hlc, node_tag)
) STRICT, WITHOUT ROWID;
CREATE INDEX field_version_by_import ON field_version (import_id) WHERE import_id IS NOT NULL;
CREATE INDEX field_version_by_node ON field_version (node, corrected_hlc);

-- Concurrent edits with both values. The first finding stays as it was found.
CREATE TABLE conflict (
    id           INTEGER PRIMARY KEY,
    table_name   TEXT    NOT NULL,
    row_id       TEXT    NOT NULL,
    column_name  TEXT    NOT NULL,
    loser        TEXT    NOT NULL,         -- stamp
    winner       TEXT    NOT NULL,         -- stamp
    loser_value  TEXT    NOT NULL,         -- JSON scalar
    winner_value TEXT    NOT NULL,
    loser_shop   BLOB,
    winner_shop  BLOB,
    policy       TEXT    NOT NULL,
    found_ms     INTEGER NOT NULL,
    -- What became of it, decided anew when versions of the field have come.
    state        TEXT    NOT NULL,
    settled_by   TEXT,                     -- stamp; empty while open
    settled_ms   INTEGER,
    current      TEXT    NOT NULL,         -- stamp; as of `change`
    change       INTEGER NOT NULL,         -- grows with every change of a conflict; tills ask for what is newer
    UNIQUE (table_name, row_id, column_name, loser)
) STRICT;
CREATE INDEX conflict_open ON conflict (id) WHERE state = 'open';
CREATE INDEX conflict_by_loser_shop ON conflict (loser_shop, change) WHERE loser_shop IS NOT NULL;
CREATE INDEX conflict_by_winner_shop ON conflict (winner_shop, change) WHERE winner_shop IS NOT NULL;

-- Every policy that a column had, from when on; the row at 0 is what the catalog's schema says.
CREATE TABLE policy_change (
    table_name  TEXT    NOT NULL,
    column_name TEXT    NOT NULL,          -- `*` holds for the rest of the table
    hlc         INTEGER NOT NULL,
    node_tag    INTEGER NOT NULL,
    policy      TEXT    NOT NULL,
    PRIMARY KEY (table_name, column_name, hlc, node_tag)
) STRICT, WITHOUT ROWID;

-- What people decided. Nothing removes a row.
CREATE TABLE audit (
    id       INTEGER PRIMARY KEY,
    at_ms    INTEGER NOT NULL,
    who      TEXT    NOT NULL,
    action   TEXT    NOT NULL,
    subject  TEXT    NOT NULL,
    detail   TEXT    NOT NULL DEFAULT '',
    before   TEXT    NOT NULL,             -- JSON
    after    TEXT    NOT NULL,             -- JSON
    edit     BLOB UNIQUE,                  -- the edit that carried it out
    conflict INTEGER REFERENCES conflict (id)
) STRICT;
CREATE INDEX audit_by_conflict ON audit (conflict) WHERE conflict IS NOT NULL;

-- The last catalog edit of each node that is merged or in quarantine.
CREATE TABLE edit_progress (
    node INTEGER PRIMARY KEY REFERENCES node (number),
    seq  INTEGER NOT NULL
) STRICT;

-- Rows whose content must be written to catalog.db.
CREATE TABLE publish_queue (
    table_name TEXT NOT NULL,
    row_id     TEXT NOT NULL,
    PRIMARY KEY (table_name, row_id)
) STRICT, WITHOUT ROWID;

-- Fields with versions that came since they were decided. They are decided when their row is published.
CREATE TABLE undecided (
    table_name  TEXT NOT NULL,
    row_id      TEXT NOT NULL,
    column_name TEXT NOT NULL,
    PRIMARY KEY (table_name, row_id, column_name)
) STRICT, WITHOUT ROWID;

-- A record that broke a rule stepped aside; everything behind it went on (X4). No row is ever removed: one that was
-- settled is consolidated, and `settled_as` says how that came.
CREATE TABLE quarantine (
    node       INTEGER NOT NULL,
    seq        INTEGER NOT NULL,
    id         BLOB    NOT NULL,
    topic      INTEGER NOT NULL,
    code       TEXT    NOT NULL,           -- domain::Rule
    reason     TEXT    NOT NULL,           -- in words
    cause      BLOB,                       -- what it waits for: id of a receipt, or row of a catalog table
    found_ms   INTEGER NOT NULL,
    settled_ms INTEGER,                    -- empty: it stands in quarantine
    settled_as TEXT,                       -- waived, fixed, retried, followed, inherited or undone
    told       INTEGER NOT NULL DEFAULT 0, -- 1: an alert named it
    at_ms      INTEGER,                    -- of a receipt, as its till dated it; empty: not known
    again      INTEGER NOT NULL DEFAULT 0, -- 1: the hub's catalog has changed, it is to be judged again
    PRIMARY KEY (node, seq)
) STRICT, WITHOUT ROWID;
CREATE INDEX quarantine_open ON quarantine (id) WHERE settled_ms IS NULL;
CREATE INDEX quarantine_by_cause ON quarantine (cause) WHERE cause IS NOT NULL;

-- What was decided about records in quarantine, by whom and why.
CREATE TABLE quarantine_decision (
    number   INTEGER PRIMARY KEY,
    node     INTEGER NOT NULL,
    seq      INTEGER NOT NULL,
    decision TEXT    NOT NULL,             -- waive, fix, retry or follow
    who      TEXT    NOT NULL,
    why      TEXT    NOT NULL,
    at_ms    INTEGER NOT NULL,
    changes  TEXT    NOT NULL,             -- JSON object of the fields that were set; null: taken out
    code     TEXT    NOT NULL,             -- the rule it had broken
    FOREIGN KEY (node, seq) REFERENCES quarantine (node, seq)
) STRICT;
CREATE INDEX quarantine_decision_by_entry ON quarantine_decision (node, seq);

-- Entries of a book that are counted with the book of another node of its lineage.
CREATE TABLE inherited (
    node  INTEGER NOT NULL,
    seq   INTEGER NOT NULL,
    owner INTEGER NOT NULL REFERENCES node (number),
    PRIMARY KEY (node, seq)
) STRICT, WITHOUT ROWID;

-- Entries that other lanes brought and their own till has not sent, as they came (X7). They go when the till has.
CREATE TABLE relayed_entry (
    node     INTEGER NOT NULL REFERENCES node (number),
    seq      INTEGER NOT NULL,
    id       BLOB    NOT NULL,
    hlc      INTEGER NOT NULL,
    topic    INTEGER NOT NULL,             -- domain::Topic; a newer till's may be unknown here
    priority INTEGER NOT NULL,
    before   BLOB    NOT NULL,             -- the chain value of the entry before
    chain    BLOB    NOT NULL,
    document TEXT    NOT NULL,             -- canonical form, byte for byte
    PRIMARY KEY (node, seq)
) STRICT, WITHOUT ROWID;

-- Who brought which; it stays.
CREATE TABLE relayed (
    node      INTEGER NOT NULL REFERENCES node (number),
    from_seq  INTEGER NOT NULL,
    until_seq INTEGER NOT NULL,
    by        INTEGER NOT NULL REFERENCES node (number),
    at_ms     INTEGER NOT NULL,            -- when the last of them came
    PRIMARY KEY (node, from_seq)
) STRICT, WITHOUT ROWID;

-- Runs of sync, newest last; the oldest are removed.
CREATE TABLE run (
    id          INTEGER PRIMARY KEY,
    node        INTEGER REFERENCES node (number), -- empty: the caller is nobody that is known
    kind        TEXT    NOT NULL,          -- wire::monitor::RunKind
    started_ms  INTEGER NOT NULL,
    duration_ms INTEGER NOT NULL,
    requests    INTEGER NOT NULL,
    frames      INTEGER NOT NULL,          -- or entries of a consolidation
    bytes       INTEGER NOT NULL,          -- on the wire
    result      TEXT    NOT NULL,          -- wire::monitor::RunResult
    detail      TEXT    NOT NULL
) STRICT;
CREATE INDEX run_by_node ON run (node, id);

-- What a person should look at: states that last until they are cleared (a silent till, a full disk), and events (a
-- refused request, a revoked token in use).
CREATE TABLE alert (
    id              INTEGER PRIMARY KEY,
    at_ms           INTEGER NOT NULL,      -- raised
    kind            TEXT    NOT NULL,
    node            BLOB,
    subject         TEXT    NOT NULL,      -- what of the node or the hub it is about; may be empty
    detail          TEXT    NOT NULL,
    lasting         INTEGER NOT NULL,      -- 1: a state
    cleared_ms      INTEGER,               -- when the state ended
    acknowledged_ms INTEGER,
    acknowledged_by TEXT
) STRICT;
-- A state is raised once until it is cleared.
CREATE UNIQUE INDEX alert_lasts ON alert (kind, coalesce(node, x''), subject)
    WHERE lasting = 1 AND cleared_ms IS NULL;

-- Where alerts go besides this database: `webhook`, `command`.
CREATE TABLE alert_channel (
    name TEXT PRIMARY KEY
) STRICT, WITHOUT ROWID;

-- What was not delivered yet. A row goes when the other side has confirmed it.
CREATE TABLE alert_outbox (
    id       INTEGER PRIMARY KEY,
    alert    INTEGER NOT NULL REFERENCES alert (id),
    event    TEXT    NOT NULL,             -- raised or cleared
    channel  TEXT    NOT NULL,
    at_ms    INTEGER NOT NULL,
    attempts INTEGER NOT NULL DEFAULT 0,
    due_ms   INTEGER NOT NULL,             -- not before
    error    TEXT                          -- what the last attempt came to
) STRICT;
CREATE INDEX alert_outbox_due ON alert_outbox (channel, due_ms);
CREATE INDEX alert_outbox_by_alert ON alert_outbox (alert, channel);

-- The chain of the journal at a consolidated receipt or closure, so that its rows can be checked at any time: the
-- value before the entry and its own.
CREATE TABLE link (
    node   INTEGER NOT NULL,
    seq    INTEGER NOT NULL,
    before BLOB    NOT NULL,
    chain  BLOB    NOT NULL,
    PRIMARY KEY (node, seq)
) STRICT, WITHOUT ROWID;

-- Closed business days (X9); what they state stands in `document`.
CREATE TABLE closure (
    node     INTEGER NOT NULL,
    seq      INTEGER NOT NULL,
    day      TEXT    NOT NULL,             -- YYYY-MM-DD
    PRIMARY KEY (node, seq)
) STRICT, WITHOUT ROWID;

-- What a node seals its days with: every key that it had, because what it closed offline may arrive after it got another
-- token.
CREATE TABLE node_key (
    node     INTEGER NOT NULL REFERENCES node (number),
    seal_key BLOB    NOT NULL,
    from_ms  INTEGER NOT NULL,
    PRIMARY KEY (node, seal_key)
) STRICT, WITHOUT ROWID;
-- When the newest one was made.
CREATE INDEX node_key_by_time ON node_key (from_ms);
-- Whose a token was.
CREATE INDEX node_key_by_key ON node_key (seal_key);

-- Access (L8). People who sign in, with what they may do.
CREATE TABLE user (
    name        TEXT PRIMARY KEY,
    role        TEXT    NOT NULL,          -- owner, shop_manager or support
    shop        BLOB REFERENCES shop (id), -- of a shop manager
    password    TEXT    NOT NULL,          -- argon2id, as a PHC string
    created_ms  INTEGER NOT NULL,
    disabled_ms INTEGER
) STRICT, WITHOUT ROWID;

-- A person who has signed in and not out; rows go when they end.
CREATE TABLE session (
    number     INTEGER PRIMARY KEY AUTOINCREMENT,
    user       TEXT    NOT NULL REFERENCES user (name),
    token_hash BLOB    NOT NULL UNIQUE,    -- SHA-256 of the token
    created_ms INTEGER NOT NULL,
    seen_ms    INTEGER NOT NULL,
    expires_ms INTEGER NOT NULL
) STRICT;
CREATE INDEX session_by_user ON session (user);

-- Wrong passwords by the name that was given, which need not be anybody's.
CREATE TABLE sign_in_failure (
    name            TEXT PRIMARY KEY,
    failures        INTEGER NOT NULL,
    last_ms         INTEGER NOT NULL,
    locked_until_ms INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- Programs that call the admin API.
CREATE TABLE machine (
    name       TEXT PRIMARY KEY,
    role       TEXT    NOT NULL,
    shop       BLOB REFERENCES shop (id),
    token_hash BLOB    NOT NULL UNIQUE,    -- SHA-256 of the token
    created_ms INTEGER NOT NULL,
    seen_ms    INTEGER,
    expires_ms INTEGER NOT NULL,
    revoked_ms INTEGER
) STRICT, WITHOUT ROWID;

-- Who signed in and who was refused what; the oldest rows go.
CREATE TABLE access_log (
    id      INTEGER PRIMARY KEY AUTOINCREMENT,
    at_ms   INTEGER NOT NULL,              -- the last time
    who     TEXT    NOT NULL,
    what    TEXT    NOT NULL,
    outcome TEXT    NOT NULL,
    times   INTEGER NOT NULL               -- how often within a minute of each other
) STRICT;

-- The closures among the documents: those that this hub could not read are tried again when it starts.
CREATE INDEX document_closures ON document (node, seq) WHERE topic = 10;
CREATE INDEX document_employee_events ON document (corrected_ms) WHERE topic = 11;

-- Tills that were told to update and of which nothing is taken meanwhile, because the gate is `strict` (L4).
CREATE TABLE shut_out (
    node     INTEGER PRIMARY KEY REFERENCES node (number),
    since_ms INTEGER NOT NULL,             -- when it was told first
    seq      INTEGER                       -- how long its journal was when it was told last
) STRICT;
