-- Gives employees a PIN and says what each of them may do at a till; finds what was merged into a row.
-- Safe to run twice: it runs once, in one transaction with its history row.

ALTER TABLE employees ADD COLUMN pin TEXT;             -- argon2id hash, as a PHC string; empty: no PIN
ALTER TABLE employees ADD COLUMN permissions TEXT;     -- words in the order of the alphabet, joined by commas

INSERT INTO policy (table_name, column_name, policy) VALUES
    ('employees', 'pin', 'last_writer_wins'),
    ('employees', 'permissions', 'hub_wins');

CREATE INDEX aliases_by_survivor ON aliases (survivor);
