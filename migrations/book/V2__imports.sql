-- Says of every entry which import brought it, so that an import can be taken back as a whole.
-- Safe to run twice: it runs once, in one transaction with its history row.

ALTER TABLE journal ADD COLUMN import_id BLOB;         -- UUIDv7, 16 bytes; empty: a person entered it here
