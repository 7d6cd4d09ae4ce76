-- What a person asked to be sent again, until it remains again (JSON; NULL: nothing), and the attempts that do not count for it.

ALTER TABLE messages ADD COLUMN scopes TEXT;
ALTER TABLE exceptions ADD COLUMN before INTEGER NOT NULL DEFAULT 0;
