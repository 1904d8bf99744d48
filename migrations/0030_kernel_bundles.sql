-- Kernels come from bundles too: the check on a kernel's source is of the
-- column's own, so the column is made anew.
ALTER TABLE kernels ADD COLUMN source_type TEXT NOT NULL DEFAULT 'file'
    CHECK (source_type IN ('dir', 'deb', 'apt', 'file', 'bundle'));
UPDATE kernels SET source_type = source_kind;
ALTER TABLE kernels DROP COLUMN source_kind;
ALTER TABLE kernels RENAME COLUMN source_type TO source_kind;
