//! Image sources: layouts, a registry that does wrong on purpose, and a real one.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a failing step is a failing test"
)]

mod oci {
    mod access;
    mod content;
    mod docker_registry;
    mod faults;
    mod images;
    mod layout;
    mod registry;
    mod world;
}
