-- Several databases as shards of one installation (stores/sharded). Each knows which one it is; the first one keeps the list of them and where
-- each slot lies. slots.open says more now: 0 away, 1 open, 2 draining, 3 closed.
ALTER TABLE shard ADD COLUMN installation TEXT NOT NULL DEFAULT '';
ALTER TABLE shard ADD COLUMN number INTEGER NOT NULL DEFAULT 0;

CREATE TABLE shards (
  number   INTEGER PRIMARY KEY,
  name     TEXT NOT NULL,
  added_at INTEGER NOT NULL
);

-- other: the shard that a slot goes to, or came from while step is opening; -1: it does not move.
CREATE TABLE slot_map (
  slot   INTEGER PRIMARY KEY,
  shard  INTEGER NOT NULL,
  epoch  INTEGER NOT NULL,
  step   TEXT NOT NULL,
  other  INTEGER NOT NULL,
  detail TEXT NOT NULL,
  at     INTEGER NOT NULL
);
