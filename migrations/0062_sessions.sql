-- Sessions of the service's clients: a VM that was made in one has its id in the
-- label "banger.session", and lives as long as somebody keeps the session. `lease`
-- is what `vms.lease` is.
CREATE TABLE sessions (
    id         TEXT    PRIMARY KEY NOT NULL,
    caller     TEXT    NOT NULL,
    name       TEXT    NOT NULL,
    lease      TEXT    NOT NULL,
    created_at INTEGER NOT NULL,
    ended_at   INTEGER,
    UNIQUE (caller, name)
) STRICT;
