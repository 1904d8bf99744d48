-- The blobs that an image's root disk was made of, as a JSON array of digests:
-- a prune of the cache keeps them. Null where none are known.
ALTER TABLE images ADD COLUMN disk_layers TEXT;
