-- Keeps who signed in or tried to, who approved what, and who opened the drawer without a sale. Says of a stock count what its
-- lane had of the journals of the others, so that no clock decides what stands before it.
-- Safe to run twice: it runs once, in one transaction with its history row.

ALTER TABLE stock_count ADD COLUMN seen TEXT;          -- JSON of domain::stock::Seen; empty: nothing new

-- Refunds are found by the sale that they take back.
CREATE INDEX refund_by_sale ON journal (refund_of) WHERE refund_of IS NOT NULL;

CREATE TABLE employee_event (
    seq        INTEGER PRIMARY KEY REFERENCES journal (seq),
    employee   TEXT    NOT NULL,           -- as it was typed
    event      TEXT    NOT NULL,           -- domain::employee::EventKind
    permission TEXT,                       -- what an approval was for
    outcome    TEXT    NOT NULL,           -- domain::employee::Outcome
    unlooked   INTEGER NOT NULL,           -- tries before, while it was locked, without an entry of their own
    at_ms      INTEGER NOT NULL
) STRICT;
