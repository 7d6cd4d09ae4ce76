-- The audit trail of one object.

CREATE INDEX audit_object ON audit (object);
