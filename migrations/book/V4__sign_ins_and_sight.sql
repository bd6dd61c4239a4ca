-- Says of a stock count what its lane had of the journals of the others, so that no clock decides what stands before it.
-- Safe to run twice: it runs once, in one transaction with its history row.

ALTER TABLE stock_count ADD COLUMN seen TEXT;          -- JSON of domain::stock::Seen; empty: nothing new
