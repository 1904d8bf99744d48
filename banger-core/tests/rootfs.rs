//! Real disks, checked by tools we did not write: every disk passes
//! `e2fsck -fn`, and mounted trees equal what `umoci unpack` makes.
//!
//! Needs root (mounting, device nodes) and the packages buildah, busybox-static,
//! e2fsprogs, skopeo and umoci.

#![expect(clippy::unwrap_used, reason = "a failing step is a failing test")]

mod rootfs {
    mod corpus;
    mod determinism;
    mod disks;
    mod distributions;
    pub(crate) mod fixture;
    mod growth;
    mod hostile;
    mod model;
    mod reading;
    mod resizing;
    pub(crate) mod saving;
    pub(crate) mod snapshot;
    mod tools;
    mod umoci;
}
