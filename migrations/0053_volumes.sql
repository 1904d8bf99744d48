-- Named volumes, and the volumes of VMs: a JSON list of what each is made of,
-- where it is found and whether it is only read. Which VMs have which named
-- volume is kept apart, so that one in use cannot be deleted.
CREATE TABLE volumes (
    name       TEXT    PRIMARY KEY NOT NULL,
    size_bytes INTEGER NOT NULL CHECK (size_bytes > 0),
    created_at INTEGER NOT NULL
) STRICT;

ALTER TABLE vms ADD COLUMN volumes TEXT NOT NULL DEFAULT '[]';

CREATE TABLE vm_volumes (
    vm_id  TEXT NOT NULL REFERENCES vms (id) ON DELETE CASCADE,
    volume TEXT NOT NULL REFERENCES volumes (name),
    PRIMARY KEY (vm_id, volume)
) STRICT;

CREATE INDEX vm_volumes_by_volume ON vm_volumes (volume);
