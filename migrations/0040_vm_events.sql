-- What happened to VMs, one row for each published change of a record, written
-- by the database itself in the same transaction, so that no way of changing a
-- record can forget it. Numbers are never used twice; only the last 10000
-- rows are kept.
CREATE TABLE vm_events (
    sequence    INTEGER PRIMARY KEY AUTOINCREMENT,
    happened_at INTEGER NOT NULL,
    vm_id       TEXT    NOT NULL,
    vm_name     TEXT    NOT NULL,
    change      TEXT    NOT NULL CHECK (change IN ('created', 'changed', 'removed')),
    state       TEXT    NOT NULL,
    reason      TEXT    NOT NULL,
    exit_kind   TEXT,
    exit_detail TEXT,
    generation  INTEGER NOT NULL
) STRICT;

CREATE INDEX vm_events_by_vm ON vm_events (vm_id);

CREATE TRIGGER vm_inserted AFTER INSERT ON vms BEGIN
    INSERT INTO vm_events (happened_at, vm_id, vm_name, change, state, reason, exit_kind, exit_detail, generation)
    VALUES (CAST(unixepoch('subsec') * 1000 AS INTEGER) * 1000000, NEW.id, NEW.name, 'created', NEW.state, NEW.reason,
        NEW.exit_kind, NEW.exit_detail, NEW.generation);
END;

CREATE TRIGGER vm_updated AFTER UPDATE ON vms WHEN NEW.generation <> OLD.generation BEGIN
    INSERT INTO vm_events (happened_at, vm_id, vm_name, change, state, reason, exit_kind, exit_detail, generation)
    VALUES (CAST(unixepoch('subsec') * 1000 AS INTEGER) * 1000000, NEW.id, NEW.name, 'changed', NEW.state, NEW.reason,
        NEW.exit_kind, NEW.exit_detail, NEW.generation);
END;

CREATE TRIGGER vm_removed AFTER DELETE ON vms BEGIN
    INSERT INTO vm_events (happened_at, vm_id, vm_name, change, state, reason, exit_kind, exit_detail, generation)
    VALUES (CAST(unixepoch('subsec') * 1000 AS INTEGER) * 1000000, OLD.id, OLD.name, 'removed', OLD.state, OLD.reason,
        OLD.exit_kind, OLD.exit_detail, OLD.generation);
END;

CREATE TRIGGER vm_events_bounded AFTER INSERT ON vm_events BEGIN
    DELETE FROM vm_events WHERE sequence <= NEW.sequence - 10000;
END;
