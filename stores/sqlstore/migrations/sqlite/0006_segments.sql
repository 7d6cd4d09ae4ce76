CREATE TABLE segments (
  id         INTEGER PRIMARY KEY AUTOINCREMENT,
  name       TEXT NOT NULL UNIQUE,
  audience   TEXT NOT NULL,
  created_at INTEGER NOT NULL,
  updated_at INTEGER NOT NULL
);

-- Attributes are sets: whoever is there already is still to be taken into them. A row holds the same members under another name.
DELETE FROM sets WHERE name = 'unindexed';
INSERT INTO sets (slot, name, chunk, n, crc, members) SELECT slot, 'unindexed', chunk, n, crc, members FROM sets WHERE name = 'alive';
UPDATE slots SET changed = changed + 1;
