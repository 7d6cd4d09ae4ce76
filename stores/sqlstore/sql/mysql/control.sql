-- What is set is seen by what comes after it in the same SET: few, which asks for the phase before, comes first.

-- name: messages.save
UPDATE message_rows SET few = CASE WHEN ?35 = 1 AND phase = 'preparing' THEN 1 ELSE few END,
  name = ?1, channel = ?2, status = ?3, phase = ?4, generation = ?5, pause_reason = ?6, paused_from = ?7, ending = ?8,
  revision = ?9, provider = ?10, topic = ?11, essential = ?12, test = ?13, send_at = ?14, not_after = ?15, start_grace = ?16, rate = ?17, priority = ?18,
  uncertain = ?19, dedupe = ?20, outcome = ?21, updated_at = ?22, started_at = ?23, finished_at = ?24, trigger_by = ?25, waiting = ?26,
  tags = ?27, audience = ?28, data = ?29, metadata = ?30, content = ?31, scopes = ?32, recall = ?33, expires_at = ?34
WHERE id = ?36 AND phase = ?37 AND generation = ?38;
