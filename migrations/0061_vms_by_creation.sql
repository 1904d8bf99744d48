-- Lists of VMs by when they were made, a page at a time.
CREATE INDEX vms_by_creation ON vms (created_at, id);
