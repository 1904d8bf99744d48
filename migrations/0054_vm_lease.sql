-- How long a VM may live: JSON with the limits and since when they count, by
-- both clocks; none lives for ever.
ALTER TABLE vms ADD COLUMN lease TEXT;
