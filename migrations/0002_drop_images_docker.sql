-- Whether an image came from a container registry is said by its source; the
-- flag has no reader left.
ALTER TABLE images DROP COLUMN docker;
