-- Says of a stock count what its lane had of the journals of the others, so that no clock decides what stands before it.
-- Safe to run twice: it runs once, in one transaction with its history row.

ALTER TABLE stock_count ADD COLUMN seen TEXT;          -- JSON of domain::stock::Seen; empty: nothing new

-- Refunds are found by the sale that they take back.
CREATE INDEX refund_by_sale ON journal (refund_of) WHERE refund_of IS NOT NULL;
