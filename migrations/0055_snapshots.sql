-- Machines that were kept as they ran. `vm` is the VM's record of then as JSON,
-- a member for each column of `vms`; the VM may be gone.
CREATE TABLE snapshots (
    id              TEXT    PRIMARY KEY NOT NULL,
    image_id        TEXT    NOT NULL REFERENCES images (id),
    vm              TEXT    NOT NULL,
    backend         TEXT    NOT NULL,
    on_disk_bytes   INTEGER NOT NULL,
    created_at      INTEGER NOT NULL
) STRICT;

CREATE INDEX snapshots_by_image ON snapshots (image_id);
