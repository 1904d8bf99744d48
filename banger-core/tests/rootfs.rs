//! Real disks, checked by tools we did not write: every disk passes
//! `e2fsck -fn`, and mounted trees equal what `umoci unpack` makes.
//!
//! Needs root (mounting, device nodes) and the packages e2fsprogs and umoci.

#![expect(clippy::unwrap_used, reason = "a failing step is a failing test")]

mod rootfs {
    mod disks;
    pub(crate) mod fixture;
    mod hostile;
    pub(crate) mod snapshot;
    mod umoci;
}
