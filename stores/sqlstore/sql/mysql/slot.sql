-- What MySQL has other words for. A row that is found and stays as it was counts as changed, so it is looked for before.

-- name: latch.spread
INSERT INTO message_slots (message, slot, frozen, phase, generation, people)
SELECT ?1, ?2, 0, ?3, ?4, 0 FROM slots s LEFT JOIN message_slots o ON o.message = ?1 AND o.slot = s.slot
WHERE s.slot = ?2 AND (o.message IS NULL OR ?4 > o.generation OR ?4 = o.generation AND ?3 > o.phase)
ON DUPLICATE KEY UPDATE
  phase = CASE WHEN VALUES(generation) > message_slots.generation OR VALUES(generation) = message_slots.generation AND VALUES(phase) > message_slots.phase
    THEN VALUES(phase) ELSE message_slots.phase END,
  generation = GREATEST(message_slots.generation, VALUES(generation));
