-- The users and groups that jailed VMMs run as, each for one VM at a time:
-- reserved when a boot has begun and before its VMM is started, and free again
-- in the very change of the record that says that the machine is gone.
CREATE TABLE jail_ids (
    id    INTEGER PRIMARY KEY NOT NULL,
    vm_id TEXT    NOT NULL UNIQUE REFERENCES vms (id) ON DELETE CASCADE
) STRICT;

CREATE TRIGGER jail_id_freed AFTER UPDATE OF state ON vms
WHEN NEW.state NOT IN ('starting', 'running', 'paused', 'stopping') BEGIN
    DELETE FROM jail_ids WHERE vm_id = NEW.id;
END;
