-- Who was erased: hashes with this database's own key of external ids and addresses. And how many erasures have not left all files yet.

CREATE TABLE erased (
  hash INTEGER PRIMARY KEY
);
ALTER TABLE shard ADD COLUMN unpurged INTEGER NOT NULL DEFAULT 0;
