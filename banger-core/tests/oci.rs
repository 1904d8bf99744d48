//! Image sources: layouts, archives, a registry that does wrong on purpose, and a real one.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a failing step is a failing test"
)]

mod oci {
    mod access;
    mod archives;
    mod arriving;
    mod bounds;
    mod certificates;
    mod content;
    mod customer;
    mod docker_registry;
    mod faults;
    mod images;
    mod layout;
    mod mirrors;
    mod peer;
    mod private_registry;
    mod registry;
    mod registry_program;
    mod rootfs_tar;
    mod sign_in;
    mod world;
}
