-- Records of images, kernels and virtual machines.
-- Times are nanoseconds since 1970-01-01 UTC; sizes are bytes; structured
-- columns hold JSON. A shipped migration is never edited.

CREATE TABLE kernels (
    name           TEXT    PRIMARY KEY NOT NULL,
    distribution   TEXT,
    architecture   TEXT    NOT NULL,
    version        TEXT    NOT NULL,
    sha256         TEXT    NOT NULL,
    source_kind    TEXT    NOT NULL CHECK (source_kind IN ('dir', 'deb', 'apt', 'file')),
    source         TEXT    NOT NULL,
    directory      TEXT    NOT NULL,
    initrd_path    TEXT,
    modules_dir    TEXT,
    imported_at    INTEGER NOT NULL
) STRICT;

CREATE TABLE images (
    id              TEXT    PRIMARY KEY NOT NULL,
    name            TEXT    NOT NULL UNIQUE,
    artifact_dir    TEXT,
    rootfs_path     TEXT    NOT NULL,
    kernel_path     TEXT    NOT NULL,
    initrd_path     TEXT,
    modules_dir     TEXT,
    kernel_name     TEXT    REFERENCES kernels (name),
    source_kind     TEXT    NOT NULL,
    source          TEXT,
    source_digest   TEXT,
    run_config      TEXT    NOT NULL,
    apparent_bytes  INTEGER NOT NULL,
    on_disk_bytes   INTEGER NOT NULL,
    packages_sha256 TEXT,
    docker          INTEGER NOT NULL DEFAULT 0,
    created_at      INTEGER NOT NULL,
    updated_at      INTEGER NOT NULL
) STRICT;

CREATE TABLE vms (
    id              TEXT    PRIMARY KEY NOT NULL,
    name            TEXT    NOT NULL UNIQUE,
    image_id        TEXT    NOT NULL REFERENCES images (id),
    vcpus           INTEGER NOT NULL CHECK (vcpus > 0),
    memory_bytes    INTEGER NOT NULL CHECK (memory_bytes > 0),
    root_disk       TEXT    NOT NULL CHECK (root_disk IN ('overlay', 'clone')),
    disk_bytes      INTEGER NOT NULL CHECK (disk_bytes > 0),
    wanted_backend  TEXT,
    remove_on_stop  INTEGER NOT NULL DEFAULT 0,
    labels          TEXT    NOT NULL DEFAULT '{}',
    state           TEXT    NOT NULL CHECK (state IN (
        'creating', 'created', 'starting', 'running', 'paused', 'stopping', 'stopped', 'failed', 'deleting'
    )),
    reason          TEXT    NOT NULL,
    backend         TEXT,
    backend_reason  TEXT,
    boot_id         TEXT,
    exit_kind       TEXT,
    exit_detail     TEXT,
    created_at      INTEGER NOT NULL,
    started_at      INTEGER,
    stopped_at      INTEGER,
    generation      INTEGER NOT NULL DEFAULT 1
) STRICT;

CREATE INDEX images_by_kernel ON images (kernel_name);
CREATE INDEX vms_by_image ON vms (image_id);
