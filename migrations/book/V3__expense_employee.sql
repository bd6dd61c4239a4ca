-- Says who took money out of the drawer.
-- Safe to run twice: it runs once, in one transaction with its history row.

ALTER TABLE expense ADD COLUMN employee TEXT;          -- a catalog id; empty: not said
