-- What whoever made a volume knows it by, as VMs have it: a JSON object. The label
-- "banger.owner" says whose it is, "banger.operation" which operation made it.
ALTER TABLE volumes ADD COLUMN labels TEXT NOT NULL DEFAULT '{}';
