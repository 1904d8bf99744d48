-- Whose VM it was that something happened to: the label "banger.owner" of its record.
ALTER TABLE vm_events ADD COLUMN owner TEXT;

DROP TRIGGER vm_inserted;
DROP TRIGGER vm_updated;
DROP TRIGGER vm_removed;

CREATE TRIGGER vm_inserted AFTER INSERT ON vms BEGIN
    INSERT INTO vm_events (happened_at, vm_id, vm_name, change, state, reason, exit_kind, exit_detail, generation, owner)
    VALUES (CAST(unixepoch('subsec') * 1000 AS INTEGER) * 1000000, NEW.id, NEW.name, 'created', NEW.state, NEW.reason,
        NEW.exit_kind, NEW.exit_detail, NEW.generation, json_extract(NEW.labels, '$."banger.owner"'));
END;

CREATE TRIGGER vm_updated AFTER UPDATE ON vms WHEN NEW.generation <> OLD.generation BEGIN
    INSERT INTO vm_events (happened_at, vm_id, vm_name, change, state, reason, exit_kind, exit_detail, generation, owner)
    VALUES (CAST(unixepoch('subsec') * 1000 AS INTEGER) * 1000000, NEW.id, NEW.name, 'changed', NEW.state, NEW.reason,
        NEW.exit_kind, NEW.exit_detail, NEW.generation, json_extract(NEW.labels, '$."banger.owner"'));
END;

CREATE TRIGGER vm_removed AFTER DELETE ON vms BEGIN
    INSERT INTO vm_events (happened_at, vm_id, vm_name, change, state, reason, exit_kind, exit_detail, generation, owner)
    VALUES (CAST(unixepoch('subsec') * 1000 AS INTEGER) * 1000000, OLD.id, OLD.name, 'removed', OLD.state, OLD.reason,
        OLD.exit_kind, OLD.exit_detail, OLD.generation, json_extract(OLD.labels, '$."banger.owner"'));
END;
