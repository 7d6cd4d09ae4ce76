-- The tables of DESIGN §5 as SQLite keeps them. Times are microseconds since 1970 (0: none), sets are bytes of package set.
-- Slot tables begin with their slot or message, so that what is written together lies together.

CREATE TABLE settings (
  name  TEXT NOT NULL PRIMARY KEY,
  value BLOB NOT NULL
) WITHOUT ROWID;

CREATE TABLE messages (
  num          INTEGER PRIMARY KEY AUTOINCREMENT,
  id           TEXT NOT NULL UNIQUE,
  name         TEXT NOT NULL,
  channel      TEXT NOT NULL,
  status       INTEGER NOT NULL,
  phase        TEXT NOT NULL,
  generation   INTEGER NOT NULL,
  pause_reason TEXT NOT NULL,
  paused_from  TEXT NOT NULL,
  ending       TEXT NOT NULL,
  revision     INTEGER NOT NULL,
  provider     TEXT NOT NULL,
  topic        TEXT NOT NULL,
  essential    INTEGER NOT NULL,
  test         INTEGER NOT NULL,
  send_at      INTEGER NOT NULL,
  not_after    INTEGER NOT NULL,
  start_grace  INTEGER NOT NULL,
  rate         REAL NOT NULL,
  priority     TEXT NOT NULL,
  uncertain    TEXT NOT NULL,
  dedupe       TEXT NOT NULL,
  outcome      TEXT NOT NULL,
  created_at   INTEGER NOT NULL,
  updated_at   INTEGER NOT NULL,
  started_at   INTEGER NOT NULL,
  finished_at  INTEGER NOT NULL,
  trigger_by   TEXT,
  waiting      TEXT,
  tags         TEXT,
  audience     TEXT,
  data         TEXT,
  metadata     TEXT,
  content      TEXT NOT NULL
);
CREATE INDEX messages_unfinished ON messages (num) WHERE status <> 3 AND phase <> 'draft';

CREATE TABLE message_tags (
  message INTEGER NOT NULL,
  tag     TEXT NOT NULL,
  PRIMARY KEY (message, tag)
) WITHOUT ROWID;

CREATE TABLE lists (
  id         INTEGER PRIMARY KEY AUTOINCREMENT,
  name       TEXT NOT NULL UNIQUE,
  created_at INTEGER NOT NULL
);

CREATE TABLE providers (
  name TEXT NOT NULL PRIMARY KEY,
  body TEXT NOT NULL
) WITHOUT ROWID;

CREATE TABLE keys (
  id         TEXT NOT NULL PRIMARY KEY,
  name       TEXT NOT NULL,
  hash       BLOB NOT NULL UNIQUE,
  scopes     TEXT,
  test       INTEGER NOT NULL,
  created_at INTEGER NOT NULL
) WITHOUT ROWID;

CREATE TABLE idempotency (
  name      TEXT NOT NULL PRIMARY KEY,
  body_hash BLOB NOT NULL,
  status    INTEGER NOT NULL,
  header    TEXT,
  body      BLOB,
  at        INTEGER NOT NULL
) WITHOUT ROWID;
CREATE INDEX idempotency_at ON idempotency (at);

CREATE TABLE imports (
  id         TEXT NOT NULL PRIMARY KEY,
  state      TEXT NOT NULL,
  detail     TEXT NOT NULL,
  list       TEXT NOT NULL,
  options    TEXT,
  read_rows  INTEGER NOT NULL,
  created    INTEGER NOT NULL,
  updated    INTEGER NOT NULL,
  unchanged  INTEGER NOT NULL,
  duplicates INTEGER NOT NULL,
  failed     INTEGER NOT NULL,
  block      INTEGER NOT NULL,
  created_at INTEGER NOT NULL,
  updated_at INTEGER NOT NULL
) WITHOUT ROWID;

CREATE TABLE nodes (
  name        TEXT NOT NULL PRIMARY KEY,
  incarnation INTEGER NOT NULL,
  seen_at     INTEGER NOT NULL,
  body        TEXT NOT NULL
) WITHOUT ROWID;

CREATE TABLE audit (
  id     INTEGER PRIMARY KEY AUTOINCREMENT,
  at     INTEGER NOT NULL,
  actor  TEXT NOT NULL,
  action TEXT NOT NULL,
  object TEXT NOT NULL,
  detail TEXT NOT NULL
);

CREATE TABLE leases (
  name   TEXT NOT NULL PRIMARY KEY,
  holder TEXT NOT NULL,
  until  INTEGER NOT NULL
) WITHOUT ROWID;

CREATE TABLE rates (
  name         TEXT NOT NULL PRIMARY KEY,
  window_start INTEGER NOT NULL,
  used         INTEGER NOT NULL
) WITHOUT ROWID;

-- One row. head rises with each journal commit.
CREATE TABLE shard (
  id       INTEGER PRIMARY KEY CHECK (id = 1),
  head     INTEGER NOT NULL,
  alive_at INTEGER NOT NULL,
  identity TEXT NOT NULL
);

-- rev rises with each change of alive or a suppression, changed with each change of any set.
CREATE TABLE slots (
  slot     INTEGER PRIMARY KEY,
  epoch    INTEGER NOT NULL,
  open     INTEGER NOT NULL,
  next_seq INTEGER NOT NULL,
  rev      INTEGER NOT NULL,
  changed  INTEGER NOT NULL
);

CREATE TABLE message_slots (
  message    INTEGER NOT NULL,
  slot       INTEGER NOT NULL,
  frozen     INTEGER NOT NULL,
  phase      INTEGER NOT NULL,
  generation INTEGER NOT NULL,
  people     INTEGER NOT NULL,
  PRIMARY KEY (message, slot)
) WITHOUT ROWID;

-- person = slot·2³² + seq: a slot's people lie together, in order of seq.
CREATE TABLE recipients (
  person      INTEGER PRIMARY KEY,
  slot        INTEGER NOT NULL,
  mailbox     INTEGER,
  updated_at  INTEGER NOT NULL,
  external_id TEXT NOT NULL,
  email       TEXT NOT NULL,
  phone       TEXT NOT NULL,
  locale      TEXT NOT NULL,
  time_zone   TEXT NOT NULL,
  attributes  TEXT
);
CREATE UNIQUE INDEX recipients_external_id ON recipients (slot, external_id);

CREATE TABLE sets (
  slot    INTEGER NOT NULL,
  name    TEXT NOT NULL,
  chunk   INTEGER NOT NULL,
  n       INTEGER NOT NULL,
  crc     INTEGER NOT NULL,
  members BLOB NOT NULL,
  PRIMARY KEY (slot, name, chunk)
) WITHOUT ROWID;

CREATE TABLE audiences (
  message INTEGER NOT NULL,
  slot    INTEGER NOT NULL,
  part    TEXT NOT NULL,
  chunk   INTEGER NOT NULL,
  n       INTEGER NOT NULL,
  first   INTEGER NOT NULL,
  crc     INTEGER NOT NULL,
  members BLOB NOT NULL,
  PRIMARY KEY (message, slot, part, chunk)
) WITHOUT ROWID;

CREATE TABLE batches (
  message     INTEGER NOT NULL,
  slot        INTEGER NOT NULL,
  batch       INTEGER NOT NULL,
  first       INTEGER NOT NULL,
  n           INTEGER NOT NULL,
  state       INTEGER NOT NULL,
  sent        INTEGER NOT NULL DEFAULT 0,
  failed      INTEGER NOT NULL DEFAULT 0,
  skipped     INTEGER NOT NULL DEFAULT 0,
  uncertain   INTEGER NOT NULL DEFAULT 0,
  fence       INTEGER NOT NULL DEFAULT 0,
  step        INTEGER NOT NULL DEFAULT 0,
  owner       TEXT,
  incarnation INTEGER NOT NULL DEFAULT 0,
  lease_until INTEGER NOT NULL DEFAULT 0,
  not_before  INTEGER NOT NULL DEFAULT 0,
  pending     BLOB,
  in_flight   BLOB,
  doubted     BLOB,
  runs        TEXT,
  held        TEXT,
  PRIMARY KEY (message, slot, batch)
) WITHOUT ROWID;

CREATE TABLE exceptions (
  message  INTEGER NOT NULL,
  slot     INTEGER NOT NULL,
  seq      INTEGER NOT NULL,
  result   TEXT NOT NULL,
  reason   TEXT NOT NULL,
  code     TEXT NOT NULL,
  text     TEXT NOT NULL,
  attempts INTEGER NOT NULL,
  doubts   INTEGER NOT NULL,
  at       INTEGER NOT NULL,
  PRIMARY KEY (message, slot, seq)
) WITHOUT ROWID;

CREATE TABLE marks (
  work    TEXT NOT NULL,
  part    INTEGER NOT NULL,
  slot    INTEGER NOT NULL,
  answers BLOB,
  PRIMARY KEY (work, part, slot)
) WITHOUT ROWID;
