-- How many transactions have folded: of two processes that fold at once the slower one begins anew.
ALTER TABLE shard ADD COLUMN folds INTEGER NOT NULL DEFAULT 0;
