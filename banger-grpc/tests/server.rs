//! The server over a real socket and the real core: phases, health, requests that
//! come twice, work that outlives its server.
//!
//! Needs the parts that `cargo xtask test` makes.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a failing step is a failing test"
)]

mod server {
    mod access;
    mod building;
    mod bundles;
    mod calls;
    mod capacity;
    mod certificates;
    mod client;
    mod etags;
    mod fuzz;
    pub(crate) mod harness;
    mod images;
    mod life;
    mod lists;
    mod operations;
    mod requests;
    mod sessions;
    mod snapshots;
    mod streams;
    mod tls;
    mod uploads;
    mod volumes;
}
