-- Gives customers a postal address, for invoices and deliveries.
-- Safe to run twice: it runs once, in one transaction with its history row.

ALTER TABLE customers ADD COLUMN address TEXT;         -- as it is printed on an envelope, with line breaks
