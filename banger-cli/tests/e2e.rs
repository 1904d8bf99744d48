//! The program as users run it: real images, a real registry, real guests.
//!
//! Needs the parts that `cargo xtask test` makes.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a failing step is a failing test"
)]

mod e2e {
    mod archives;
    mod bad_input;
    pub(crate) mod building;
    mod bundles;
    #[path = "../../../banger-core/tests/common/certificates.rs"]
    pub(crate) mod certificates;
    mod containerfiles;
    mod copy;
    mod crash;
    pub(crate) mod environment;
    mod exec;
    mod lifecycle;
    mod network;
    mod plain_user;
    mod port_forward;
    mod prune;
    pub(crate) mod registry;
    mod remote;
    mod rootfs;
    mod save;
    #[path = "../../../banger-core/tests/common/scratch.rs"]
    pub(crate) mod scratch;
    pub(crate) mod shell;
    mod sign_in;
    mod trust;
}
