//! The service as orchestrators use it: the program itself, and a client in
//! Python that is none of ours.
//!
//! Needs the parts that `cargo xtask test` makes.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a failing step is a failing test"
)]

mod service {
    mod activation;
    mod building;
    mod bundles;
    #[path = "../../../../banger-core/tests/common/certificates.rs"]
    pub(crate) mod certificates;
    mod chaos;
    mod cut;
    mod cutter;
    pub(crate) mod daemon;
    mod draining;
    mod elsewhere;
    mod everywhere;
    pub(crate) mod foreign;
    mod guests;
    mod images;
    mod life;
    mod logs;
    mod measure;
    mod readers;
    #[path = "../../../../banger-core/tests/common/scratch.rs"]
    pub(crate) mod scratch;
    mod sessions;
    mod uploads;
}
