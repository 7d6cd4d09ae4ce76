-- name: shard.head
UPDATE shard SET head = head + 1 WHERE id = 1 RETURNING head;
