-- Do-not-sends of addresses, by a hash with this database's own key: no address can be read from it.
CREATE TABLE suppressed_addresses (
  hash INTEGER NOT NULL,
  name TEXT NOT NULL,
  PRIMARY KEY (hash, name)
) WITHOUT ROWID;

CREATE TABLE address_key (
  id    INTEGER PRIMARY KEY CHECK (id = 1),
  value BLOB NOT NULL
);
INSERT INTO address_key (id, value) VALUES (1, randomblob(32));
