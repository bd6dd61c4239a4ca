-- What a node keeps for itself: all of it can be rebuilt from the book, the catalog and the hub.
-- Safe to run twice: it runs once, in one transaction with its history row.

-- Tier, hub, activation in progress. One row a key; values are text.
CREATE TABLE state (
    key   TEXT PRIMARY KEY,
    value TEXT NOT NULL
) STRICT, WITHOUT ROWID;

-- How far others have got in the journal of this node's book.
CREATE TABLE watermark (
    reader TEXT PRIMARY KEY,               -- hub_received, hub_consolidated, or peer: and a node's id
    seq    INTEGER NOT NULL,
    at_ms  INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- When another lane, and the hub, had the own journal up to a position; forgotten once the hub has consolidated it.
CREATE TABLE delivered (
    stage TEXT NOT NULL,                   -- peer_ack, cloud_ack
    seq   INTEGER NOT NULL,
    at_ms INTEGER NOT NULL,
    PRIMARY KEY (stage, seq)
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

-- What other lanes of the shop wrote, as far as it came here: each journal without a gap, entries as their lane chained
-- them. It can be had again from other lanes, as long as one of them is there.
CREATE TABLE peer_journal (
    origin      INTEGER PRIMARY KEY,
    node        BLOB    NOT NULL UNIQUE,   -- whose journal it is
    begin_seq   INTEGER NOT NULL,          -- the entry before the first that is held
    begin_chain BLOB    NOT NULL,
    end_seq     INTEGER NOT NULL,          -- the last entry that is held
    end_chain   BLOB    NOT NULL
) STRICT;
CREATE TABLE peer_entry (
    origin   INTEGER NOT NULL REFERENCES peer_journal (origin),
    seq      INTEGER NOT NULL,
    id       BLOB    NOT NULL,
    hlc      INTEGER NOT NULL,
    kind     INTEGER NOT NULL,             -- domain::Topic; a newer lane's may be unknown here
    chain    BLOB    NOT NULL,
    document TEXT    NOT NULL,             -- canonical form, byte for byte
    PRIMARY KEY (origin, seq)
) STRICT, WITHOUT ROWID;
CREATE INDEX peer_entry_by_id ON peer_entry (id);

-- Edits of the catalog in these journals and in the own one, by the row that they are of.
CREATE TABLE lane_edit (
    table_name TEXT    NOT NULL,
    row_id     TEXT    NOT NULL,
    origin     INTEGER NOT NULL,           -- 0: the own journal
    seq        INTEGER NOT NULL,
    PRIMARY KEY (table_name, row_id, origin, seq)
) STRICT, WITHOUT ROWID;
CREATE INDEX lane_edit_by_origin ON lane_edit (origin, seq);

-- Which of them take back which sale.
CREATE TABLE peer_refund (
    sale   BLOB    NOT NULL,
    origin INTEGER NOT NULL,
    seq    INTEGER NOT NULL,
    PRIMARY KEY (sale, origin, seq)
) STRICT, WITHOUT ROWID;

-- Which entries park, finish or discard which sale. Those of the own book follow from it, as far as `parked_until` in `state` says.
CREATE TABLE parked_entry (
    parked BLOB    NOT NULL,               -- id of the parked sale
    origin INTEGER NOT NULL,               -- of `peer_journal`; 0: the own book
    seq    INTEGER NOT NULL,
    kind   INTEGER NOT NULL,               -- domain::Topic
    PRIMARY KEY (parked, origin, seq)
) STRICT, WITHOUT ROWID;

-- Which entries are about the escrow of which product, and what moved such products. Those of the own book follow from it, as far as
-- `escrow_until` in `state` says.
CREATE TABLE escrow_entry (
    sku    TEXT    NOT NULL,
    origin INTEGER NOT NULL,               -- of `peer_journal`; 0: the own book
    seq    INTEGER NOT NULL,
    PRIMARY KEY (sku, origin, seq)
) STRICT, WITHOUT ROWID;
CREATE INDEX escrow_entry_by_journal ON escrow_entry (origin, seq);
CREATE TABLE escrow_line (
    sku    TEXT    NOT NULL,
    origin INTEGER NOT NULL,               -- of `peer_journal`; 0: the own book
    seq    INTEGER NOT NULL,
    item   INTEGER NOT NULL,               -- the line of a receipt, from 1; else 0
    milli  INTEGER NOT NULL,               -- thousandths of the unit; positive came in
    PRIMARY KEY (sku, origin, seq, item)
) STRICT, WITHOUT ROWID;
CREATE INDEX escrow_line_by_journal ON escrow_line (origin, seq);

-- Stock: everything below follows from the journals of the shop and is counted anew from them when it does not fit.
-- How far each journal is counted.
CREATE TABLE stock_journal (
    origin INTEGER PRIMARY KEY,
    node   BLOB    NOT NULL UNIQUE,        -- whose journal it is
    seq    INTEGER NOT NULL,               -- the last entry that is counted
    chain  BLOB    NOT NULL                -- its chain value
) STRICT;

-- What changed stock, each once, in the order in which this lane learned of it.
CREATE TABLE inventory_changes (
    change         INTEGER PRIMARY KEY,
    sku            TEXT    NOT NULL,
    origin         INTEGER NOT NULL REFERENCES stock_journal (origin),
    seq            INTEGER NOT NULL,       -- the entry
    item           INTEGER NOT NULL,       -- the line of a receipt, from 1; else 0
    kind           INTEGER NOT NULL,       -- domain::Topic
    id             BLOB    NOT NULL,       -- the document
    hlc            INTEGER NOT NULL,
    quantity_milli INTEGER NOT NULL,       -- thousandths of the unit: what moved, positive comes in; or what was counted
    place          INTEGER,                -- of a count: where it stands among counts; else empty
    dated_ms       INTEGER,                -- of a count: when; of what another system's data say: when by them; else empty
    level_milli    INTEGER NOT NULL,       -- the level after it, as this lane then knew it
    noted_ms       INTEGER NOT NULL        -- when this lane counted it
) STRICT;
CREATE INDEX inventory_changes_by_sku ON inventory_changes (sku, id);

CREATE TABLE stock_level (
    sku         TEXT PRIMARY KEY,
    level_milli INTEGER NOT NULL,
    count       INTEGER REFERENCES inventory_changes (change)  -- the count that holds; empty: nobody has counted
) STRICT, WITHOUT ROWID;
CREATE INDEX stock_level_oversold ON stock_level (sku) WHERE level_milli < 0 AND count IS NOT NULL;

-- What each lane had of the others' journals when it counted, as far as that was news.
CREATE TABLE stock_seen (
    origin    INTEGER NOT NULL,            -- whose counts
    lane      BLOB    NOT NULL,            -- of which journal
    since_seq INTEGER NOT NULL,            -- from this entry of the origin on
    seq       INTEGER NOT NULL,
    connected INTEGER NOT NULL,
    PRIMARY KEY (origin, lane, since_seq)
) STRICT, WITHOUT ROWID;

-- Wrong PINs of employees since the last right one. They cannot be rebuilt: without them the next wait is the shortest again.
CREATE TABLE pin_lock (
    employee TEXT PRIMARY KEY,
    pin      TEXT,                         -- the hash that they did not fit: of another PIN nothing is known
    failures INTEGER NOT NULL,
    wait_ms  INTEGER NOT NULL,             -- what was left of the wait
    at_ms    INTEGER NOT NULL,             -- at that time
    unlooked INTEGER NOT NULL              -- tries that came during it
) STRICT, WITHOUT ROWID;

-- Who is signed in at this till, and what somebody approved.
CREATE TABLE employee_session (
    token      BLOB PRIMARY KEY,           -- SHA-256
    employee   TEXT    NOT NULL,
    permission TEXT,                       -- what an approval is for, once; empty: a session
    pin        TEXT,                       -- the hash of the PIN that opened it: another PIN ends it
    begun_ms   INTEGER NOT NULL,
    seen_ms    INTEGER NOT NULL,
    expires_ms INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
