-- Work that requests to the service began. `request` and `outcome` are messages of
-- the service's own. What a VM was made by stands in the VM's own record, in the
-- label "banger.operation", from its first moment on.
CREATE TABLE operations (
    id               TEXT    PRIMARY KEY NOT NULL,
    kind             TEXT    NOT NULL,
    target           TEXT    NOT NULL,
    -- the id of what it made: it is remembered as long as that exists
    made_id          TEXT,
    request          BLOB    NOT NULL,
    state            TEXT    NOT NULL CHECK (state IN ('running', 'succeeded', 'failed', 'cancelled')),
    cancel_requested INTEGER NOT NULL DEFAULT 0,
    attempts         INTEGER NOT NULL DEFAULT 0,
    last_sequence    INTEGER NOT NULL DEFAULT 0,
    outcome          BLOB,
    created_at       INTEGER NOT NULL,
    ended_at         INTEGER
) STRICT;

CREATE INDEX operations_running ON operations (state) WHERE state = 'running';

-- The ids of requests, each its caller's own, and what was asked for: several
-- requests for the same may share one operation.
CREATE TABLE operation_requests (
    caller       TEXT NOT NULL,
    request_id   TEXT NOT NULL,
    digest       TEXT NOT NULL,
    operation_id TEXT NOT NULL REFERENCES operations (id) ON DELETE CASCADE,
    PRIMARY KEY (caller, request_id)
) STRICT, WITHOUT ROWID;

CREATE INDEX operation_requests_by_operation ON operation_requests (operation_id);

CREATE TABLE operation_events (
    operation_id TEXT    NOT NULL REFERENCES operations (id) ON DELETE CASCADE,
    sequence     INTEGER NOT NULL,
    happened_at  INTEGER NOT NULL,
    event        BLOB    NOT NULL,
    PRIMARY KEY (operation_id, sequence)
) STRICT, WITHOUT ROWID;

-- The operation knows the VM that it made from the moment on in which that is whole.
CREATE TRIGGER vm_made_by_operation AFTER UPDATE OF state ON vms
WHEN OLD.state = 'creating' AND NEW.state = 'created' AND json_extract(NEW.labels, '$."banger.operation"') IS NOT NULL
BEGIN
    UPDATE operations SET made_id = NEW.id
    WHERE id = json_extract(NEW.labels, '$."banger.operation"') AND made_id IS NULL;
END;
