-- How an image's root disk was made; null for files of the user, and for disks
-- that were made before this was written down.
ALTER TABLE images ADD COLUMN disk_method TEXT CHECK (disk_method IN ('written', 'reflink', 'copied'));
-- What its bytes depend on besides the manifest.
ALTER TABLE images ADD COLUMN disk_recipe TEXT;
CREATE INDEX images_by_source ON images (source_digest);
