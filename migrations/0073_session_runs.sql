-- Runs of VMs that belong to a session without the VM doing so: they are over when
-- the session is, and the VM stays. A run is here while it lasts: a trigger takes it
-- out in the very change of the record that says that the machine is gone.
CREATE TABLE session_runs (
    vm_id      TEXT PRIMARY KEY NOT NULL REFERENCES vms (id) ON DELETE CASCADE,
    session_id TEXT NOT NULL REFERENCES sessions (id) ON DELETE CASCADE
) STRICT;

CREATE TRIGGER session_run_over AFTER UPDATE OF state ON vms
WHEN NEW.state NOT IN ('starting', 'running', 'paused', 'stopping') BEGIN
    DELETE FROM session_runs WHERE vm_id = NEW.id;
END;
