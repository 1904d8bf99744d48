-- What network a VM has, which ports of the host lead to it, and which were
-- bound at its present or last boot. Until now VMs had none, and keep none.
ALTER TABLE vms ADD COLUMN network TEXT NOT NULL DEFAULT 'none';
ALTER TABLE vms ADD COLUMN ports TEXT NOT NULL DEFAULT '[]';
ALTER TABLE vms ADD COLUMN bound_ports TEXT NOT NULL DEFAULT '[]';
