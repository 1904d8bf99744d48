-- What a VM runs by itself, where that differs from what its image says: a JSON
-- object with the command, its environment, working directory and user.
ALTER TABLE vms ADD COLUMN process TEXT NOT NULL DEFAULT '{}';
