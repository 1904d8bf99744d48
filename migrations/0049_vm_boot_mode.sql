-- What a VM's machine runs first; the database does not know which modes there
-- are, since later versions add some.
ALTER TABLE vms ADD COLUMN boot_mode TEXT NOT NULL DEFAULT 'agent';
