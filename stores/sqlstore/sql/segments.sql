-- name: segments.get
SELECT id, name, audience, created_at, updated_at FROM segments WHERE name = ?;

-- name: segments.list
SELECT id, name, audience, created_at, updated_at FROM segments WHERE (? = 0 OR id < ?) ORDER BY id DESC LIMIT ?;

-- name: segments.put
INSERT INTO segments (name, audience, created_at, updated_at) VALUES (?, ?, ?, ?)
ON CONFLICT (name) DO UPDATE SET audience = excluded.audience, updated_at = excluded.updated_at;

-- name: segments.delete
DELETE FROM segments WHERE name = ?;
