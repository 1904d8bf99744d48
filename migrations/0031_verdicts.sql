-- What a policy decided when a kernel or an image was let in: the rule, and
-- whose signature was found good. Null where no policy was asked.
ALTER TABLE kernels ADD COLUMN policy_rule TEXT;
ALTER TABLE kernels ADD COLUMN vouched_by TEXT;
ALTER TABLE images ADD COLUMN policy_rule TEXT;
ALTER TABLE images ADD COLUMN vouched_by TEXT;
