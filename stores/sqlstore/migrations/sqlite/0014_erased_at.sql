-- When whoever had an id was erased last: whoever has it now is not reached by what was signed before. Of those erased until now it is not
-- known; they were by now.

ALTER TABLE erased ADD COLUMN at BIGINT NOT NULL DEFAULT 0;
UPDATE erased SET at = CAST(strftime('%s', 'now') AS INTEGER) * 1000000 + 999999;
