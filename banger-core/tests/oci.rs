//! Image sources against a registry that does wrong on purpose.

#![expect(clippy::unwrap_used, reason = "a failing step is a failing test")]

mod oci {
    mod faults;
    pub(crate) mod registry;
}
